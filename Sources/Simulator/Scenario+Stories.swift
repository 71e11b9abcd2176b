internal import Basics
internal import Disk
internal import LogStore
internal import MetadataModel
internal import RaftCore
internal import ReplicaCore
internal import ReplicaStorage
internal import Wire

/// What further stories need: damage without a cure, callers from elsewhere, clients that fall silent.
extension World {
    /// Nothing gets to the client or comes from it.
    package func isolate(client number: Int) {
        let host = nodes.count + number
        for node in nodes.indices {
            reachability.block(node, host)
            reachability.block(host, node)
        }
        waysBlocked()
    }

    /// Turns a bit of a stopped node's log, in the middle of what it holds, and tries to open it.
    /// - Returns: what the node says of it, and the file and offset that were hit; nil when there is no such place, or the
    ///   log opens. The bit is turned back.
    package func openingWithDamage(node number: Int) -> (said: String, file: String, offset: Int)? {
        let node = nodes[number]
        guard node.process == nil, let file = node.disk.paths.first(where: { $0.hasSuffix(".segment") }) else { return nil }
        // Behind the header and the first batches, far before the end.
        let offset = 4_096
        guard let undo = node.disk.flipBit(in: file, at: offset, bit: 3) else { return nil }
        defer { undo() }
        var logSettings = LogSettings()
        logSettings.segmentSize = settings.segmentSize
        do {
            _ = try OpenedNode(
                fileSystem: node.disk, directory: "/data", identity: identity, node: node.id,
                founding: node.record ?? founding, home: node.home, logSettings: logSettings,
                knownLevel: node.featureLevel)
            return nil
        } catch {
            return ("\(error)", file, offset)
        }
    }

    /// What a running node answers to a caller on its peer port that is not who it should be.
    package enum Stranger: CaseIterable, Sendable {
        case ofAnotherCluster
        case ofAnotherGeneration
        case underItsOwnID
        case underAMembersIDToAnother
        case underAnUnknownID
    }

    /// - Returns: why the caller is refused; nil when it is heard. Nothing but a greeting is exchanged.
    package func refusal(by number: Int, of stranger: Stranger) -> String? {
        let node = nodes[number]
        let other = nodes[(number + 1) % nodes.count]
        guard let process = node.process else { return nil }
        var hello = PeerHello(
            identity: identity, sender: other.id, name: other.name, expectedReceiver: node.id,
            peerAddress: other.peerAddress, clientAddress: other.clientAddress, softwareVersion: "sim",
            featureLevel: node.featureLevel, last: process.replica.raft.last, configurationIndex: .zero)
        switch stranger {
        case .ofAnotherCluster: hello.identity?.id ^= 1
        case .ofAnotherGeneration: hello.identity?.generation += 1
        case .underItsOwnID: hello.sender = node.id
        case .underAMembersIDToAnother: hello.expectedReceiver = other.id
        case .underAnUnknownID: hello.sender = NodeID(node.id.rawValue ^ other.id.rawValue ^ 0x5A5A)
        }
        let greeting = PeerGreeting(
            identity: identity, node: node.id, name: node.name,
            configuration: process.replica.configurationToGreetWith, featureLevel: process.replica.featureLevel)
        let refusal = greeting.refusal(of: hello) {
            let member = Member(id: hello.sender, name: hello.name, peerAddress: hello.peerAddress)
            var isMet = false
            turn(node) { isMet = $0.meet(member, configurationIndex: hello.configurationIndex) }
            return isMet
        }
        return refusal?.1
    }

    /// Changes that watches were told of.
    package var changesTold: Int { watchedChanges }
    /// Fences under which somebody wrote.
    package var fencesPassedOn: Int { fencesUsed }

    /// Terms in which somebody led.
    package var termsLed: Int { leaders.count }

    /// Who leads, in which term, and how much is committed at a node; nil while it does not run.
    package func position(of node: Int) -> (term: UInt64, last: UInt64, commit: UInt64)? {
        nodes[node].process.map {
            let raft = $0.replica.raft
            return (raft.currentTerm.rawValue, raft.lastIndex.rawValue, raft.commitIndex.rawValue)
        }
    }
}
