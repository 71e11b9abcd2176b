internal import Basics
internal import MetadataModel
internal import ReplicaCore

/// Clients that are cut off from every node, for part of their session's timeout or for longer than that: so long as it is
/// shorter, the session must be theirs when they are back.
extension World {
    func planClientFaults() {
        guard settings.injectsFaults, settings.focus != .storage, clientChance.happens(percent: 60) else { return }
        schedule(.special(.cutOffClient), after: clientChance.interval(.seconds(1), .seconds(4)))
    }

    func cutOffClient() {
        guard isFaulty else { return }
        schedule(.special(.cutOffClient), after: clientChance.interval(.milliseconds(500), .seconds(5)))
        let client = clientChance.pick(clients)
        counters.add(.clientCutOff)
        tell("client \(client.number) is cut off")
        for node in nodes.indices {
            reachability.block(node, nodes.count + client.number)
            reachability.block(nodes.count + client.number, node)
        }
        waysBlocked()
        let quarter = settings.sessionTimeout / 4
        schedule(.special(.clientIsBack(client.number)), after: clientChance.interval(quarter, quarter * 5))
    }

    func clientIsBack(_ client: Int) {
        guard isFaulty else { return }
        for node in nodes.indices {
            reachability.unblock(node, nodes.count + client)
            reachability.unblock(nodes.count + client, node)
        }
        waysFreed()
    }
}

/// Nodes that can take little: few requests at a time, few clients. What is refused is refused by word or by the end of the
/// connection, nothing of it takes effect, and in the end every call is answered all the same.
extension World {
    /// As the server does with a client that is one too many: the connection ends at once.
    func refusesForLimits(_ connection: SimConnection, _ process: SimProcess) -> Bool {
        // At peace everybody has to get through: as many as there are clients.
        guard settings.clientConnectionsMax > 0, isFaulty,
            process.clients.count(where: { $0 != nil }) >= settings.clientConnectionsMax
        else { return false }
        counters.add(.limitOnConnections)
        close(connection, atCalled: true)
        return true
    }

    /// What a node has taken on and not yet answered stays within its limits.
    func checkBounds(of node: SimNode, _ process: SimProcess) {
        let figures = process.replica.figures(at: node.clock.monotonic(at: now))
        guard figures.writesPending > settings.requestsPendingMax else { return }
        fail("\(node.name) has taken on \(figures.writesPending) writes, and its limit is \(settings.requestsPendingMax)")
    }

    func countRefusals(of node: SimNode, _ process: SimProcess) {
        let refusals = process.replica.figures(at: node.clock.monotonic(at: now)).counters.refusalsByCode
        func count(_ code: ErrorCode) -> Int {
            refusals.first { $0.code == code }.map { Int($0.count) } ?? 0
        }
        counters.add(.limitOnRequests, count(.overloaded))
        // Whatever else a node refuses that a client tries again, here or elsewhere.
        counters.add(.retry, count(.notLeader) + count(.unavailable) + count(.unknown))
    }
}
