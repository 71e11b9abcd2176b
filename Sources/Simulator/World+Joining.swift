internal import Basics
internal import Disk
internal import LogStore
internal import MetadataModel
internal import RaftCore
internal import Wire

/// A node with an empty directory that looks for a cluster to enter, as `serve --join` does.
final class SimJoining {
    /// The cluster that each address last named.
    var found: [String: ClusterIdentity] = [:]
}

extension World {
    private static let directory = "/data"

    /// Reads who this node is. One that has no cluster yet begins to look for it.
    /// - Returns: whether it belongs to a cluster, so that its replica can start.
    func takeIdentity(_ node: SimNode) throws -> Bool {
        guard !node.isFounder else { return true }
        if let found = try NodeIdentity.load(from: Self.directory, on: node.disk) {
            if node.isKnown, found.incarnation != node.id { fail("\(node.name) comes back as another incarnation") }
            node.id = found.incarnation
            if found.cluster != nil {
                node.record = try FoundingRecord(decoding: found.foundingRecord.rawSpan)
                return true
            }
        } else {
            if node.isKnown { fail("\(node.name) has forgotten its incarnation") }
            node.id = NodeID(nodeChance.next() | 1)
            let new = NodeIdentity(cluster: nil, name: node.name, incarnation: node.id)
            try new.store(in: Self.directory, on: node.disk)
        }
        node.isKnown = true
        if node.record != nil { fail("\(node.name) has forgotten the cluster that it entered") }
        node.joining = SimJoining()
        schedule(.joinRound(node: node.number, life: node.life), after: .milliseconds(10))
        return false
    }

    /// Asks the members, whose addresses an operator wrote down, which cluster they belong to.
    func joinRound(_ node: SimNode) {
        guard node.joining != nil else { return }
        schedule(.joinRound(node: node.number, life: node.life), after: .seconds(1))
        for member in oracle.members.newest.membership.members {
            guard let target = machine(at: member.peerAddress), target !== node else { continue }
            call(target, by: node, .joining).address = member.peerAddress
        }
    }

    /// A member brings the members as they are, this node among them.
    func takePart(_ node: SimNode, _ payload: [UInt8]) -> FoundingOutcome {
        guard let joining = node.joining else { return .notEmpty }
        guard let record = try? FoundingRecord(decoding: payload.rawSpan),
            record.membership.member(node.id)?.name == node.name, record.membershipIndex != .zero,
            joining.found.values.contains(record.identity)
        else { return .mismatch }
        let identity = NodeIdentity(
            cluster: record.identity, name: node.name, incarnation: node.id, foundingRecord: record.encoded())
        do {
            try during(.start, node) { () throws(DiskError) in
                try identity.store(in: Self.directory, on: node.disk)
            }
        } catch {
            guard !endedByCrash(node) else { return .notEmpty }
            tell("\(node.name) cannot keep what it is given: \(error)")
            // What is on its disk now shows at the next start.
            stopJoining(node, losingPower: true)
            schedule(.start(node: node.number), after: .milliseconds(500))
            return .notEmpty
        }
        node.record = record
        node.joining = nil
        tell("\(node.name) enters the cluster with the members of \(record.membershipIndex)")
        return .accepted
    }

    func stopJoining(_ node: SimNode, losingPower: Bool) {
        guard node.joining != nil else { return }
        node.joining = nil
        if losingPower { node.disk.losePower() } else { node.disk.processEnded() }
        closeConnections(of: node)
    }

    /// A client has called a node that belongs to no cluster.
    func answerWithoutCluster(_ node: SimNode, _ connection: SimConnection, _ inbox: inout [UInt8]) -> Bool {
        var consumed = 0
        defer { inbox.drop(consumed) }
        do {
            while let frame = try FrameHeader.scan(
                inbox.rawSpan.extracting(consumed..<inbox.count), sizeMax: Limits.frameSizeMaxDefault)
            {
                consumed += frame.totalSize
                var error = ReplyError(.notReady, "\(node.name) belongs to no cluster yet")
                if case .hello = try ClientRequest.decode(frame.header, body: frame.body) {
                    error = ReplyError(.clusterMismatch, "\(node.name) has an empty data directory")
                }
                var writer = ByteWriter()
                ClientReply.refuse(
                    kind: frame.header.kind, requestID: frame.header.requestID, error, into: &writer)
                send(writer.takeBytes(), over: connection, toCalled: false)
            }
        } catch {
            badBytes(from: connection, "\(error)")
            return false
        }
        return true
    }

    // MARK: - Machines

    /// The data directory is lost; what runs on this machine from now on is somebody else.
    func loseDirectory(of node: SimNode) {
        tell("\(node.name) (\(node.id)) loses its directory")
        stopProcess(of: node, losingPower: true)
        stopJoining(node, losingPower: true)
        countDiskFaults(of: node)
        lostLogs[node.id] = node.log
        node.becomeEmpty(diskSeed: faultChance.next(), isVolatile: settings.hasVolatileState)
    }
}
