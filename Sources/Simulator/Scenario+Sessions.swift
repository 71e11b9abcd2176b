internal import Basics
internal import ClientCore
internal import MetadataMachine
internal import MetadataModel
internal import ReplicaStorage
internal import Wire

/// Stories about sessions.
extension World {
    /// Nobody does anything any more but keep what he has.
    package func restClients() {
        for client in clients { client.isWorking = false }
    }

    /// From now on the client reaches this node only.
    package func confine(client number: Int, to node: Int) {
        let host = nodes.count + number
        for other in 0..<nodes.count where other != node {
            reachability.block(other, host)
            reachability.block(host, other)
        }
        waysBlocked()
    }

    /// The client reads a key at the node, which asks the leader unless the read may be stale.
    package func read(client number: Int, at node: Int, isStale: Bool) {
        let client = clients[number]
        let key = Workload.key(0, 0)
        var operation = Operation(client: number, called: now.nanoseconds, returned: nil)
        operation.reads = [.init(0, 0)]
        let call = Call.query(
            Query.get(key: key).encoded(), level: isStale ? .stale : .linearizable,
            address: nodes[node].clientAddress)
        submit(
            WorkItem(call: call, expectation: .get(key: key), group: 0, operation: operation, isStale: isStale),
            by: client, within: .seconds(5))
    }

    /// As the state of that node has them; nil while it does not run.
    package func openSessions(at node: Int) -> Int? { nodes[node].process?.state.machine.openSessionCount }

    /// Sessions that clients had and have no more.
    package var sessionsLost: Int { counters[.abandonSession] }

    /// Clients that were told that theirs is well.
    package var sessionsHeld: Int { clients.count { $0.sessionState == .connected } }
}
