internal import Basics
internal import MetadataModel
internal import RaftCore
internal import ReplicaCore
internal import Wire

/// One member that a node calls.
struct SimLink {
    let member: Member
    /// Being made, or made.
    var connection: SimConnection?
    /// The member has said that it hears this node.
    var isUp = false
    /// Calls since then.
    var failures = 0
}

/// What one node wants from another when it calls it.
enum SimCallPurpose {
    /// In a world whose members stay: everybody knows everybody, and nobody greets.
    case anything
    case member(NodeID)
    /// A member asks a node that is to become one who it is.
    case question(token: UInt64)
    /// A node with an empty directory looks for a cluster.
    case joining
}

/// The connections between nodes in a world whose members change: each node calls the members that it knows by address,
/// either side says first who it is, and nothing else is read from one who is not a member. As the server does it.
extension World {
    func machine(at peerAddress: String) -> SimNode? { nodes.first { $0.peerAddress == peerAddress } }

    /// Where this node can send to `peer`; nil while it cannot.
    func connection(of process: SimProcess, to peer: NodeID) -> SimConnection? {
        guard settings.changesMembers else {
            return nodes.firstIndex { $0.id == peer }.flatMap { process.outgoing[$0] }
        }
        return process.links.first { $0.member.id == peer && $0.isUp }?.connection
    }

    /// What `peer` sends to this node on.
    func inbound(of process: SimProcess, from peer: NodeID) -> [SimConnection] {
        guard settings.changesMembers else {
            return nodes.firstIndex { $0.id == peer }.flatMap { process.incoming[$0] }.map { [$0] } ?? []
        }
        return process.heard.filter { $0.node == peer }.map(\.connection)
    }

    // MARK: - Calling

    /// The members as the replica knows them are called, and nobody else.
    func linksChanged(_ node: SimNode) {
        guard let process = node.process else { return }
        let list = process.replica.linkedMembers
        let gone = process.links.filter { !list.contains($0.member) }
        process.links.removeAll { !list.contains($0.member) }
        process.told.keep(list)
        for link in gone { link.connection.map { hangUp($0, atCalled: false) } }
        for member in list where !process.links.contains(where: { $0.member == member }) {
            process.links.append(SimLink(member: member))
            callMember(node, member.id)
        }
        for entry in process.heard where !list.contains(where: { $0.id == entry.node }) {
            hangUp(entry.connection, atCalled: true)
        }
    }

    private func hangUp(_ connection: SimConnection, atCalled: Bool) {
        guard connection.isOpen(atCalled: atCalled) else { return }
        close(connection, atCalled: atCalled)
        endReachedLocally(connection, atCalled: atCalled)
    }

    func callMember(_ node: SimNode, _ member: NodeID) {
        guard let process = node.process, let place = process.links.firstIndex(where: { $0.member.id == member }),
            process.links[place].connection == nil
        else { return }
        let address = process.told.address(of: process.links[place].member, after: process.links[place].failures)
        guard let target = machine(at: address) else { return recall(node, member) }
        process.links[place].connection = call(target, by: node, .member(member))
    }

    private func recall(_ node: SimNode, _ member: NodeID) {
        if let place = node.process?.links.firstIndex(where: { $0.member.id == member }) {
            node.process?.links[place].failures += 1
        }
        schedule(
            .callMember(node: node.number, life: node.life, member: member),
            after: networkChance.interval(network.redialMin, network.redialMax))
    }

    func call(_ target: SimNode, by node: SimNode, _ purpose: SimCallPurpose) -> SimConnection {
        let connection = SimConnection(
            caller: .node(node.number, life: node.life), called: .node(target.number, life: target.life))
        connection.purpose = purpose
        dial(connection)
        return connection
    }

    /// A node that is to become a member is asked who it is.
    func ask(_ probe: MemberProbe, by node: SimNode) {
        guard let process = node.process else { return }
        let connection = machine(at: probe.address).map { call($0, by: node, .question(token: probe.token)) }
        process.questions.append((probe.token, connection))
        schedule(
            .questionEnds(node: node.number, life: node.life, token: probe.token),
            after: connection == nil ? .milliseconds(1) : .seconds(2))
    }

    func questionEnds(_ node: SimNode, _ token: UInt64, _ answer: MemberProbeAnswer) {
        guard let process = node.process, let place = process.questions.firstIndex(where: { $0.token == token }) else {
            return
        }
        let (_, connection) = process.questions.remove(at: place)
        connection.map { hangUp($0, atCalled: false) }
        turn(node) { $0.probed(token, answer) }
    }

    func memberDialled(_ node: SimNode, _ connection: SimConnection) {
        switch connection.purpose {
        case .member(let id):
            guard let process = node.process,
                process.links.contains(where: { $0.connection === connection })
            else { return hangUp(connection, atCalled: false) }
            greet(
                over: connection, from: node, identity: identity, receiver: id, last: process.replica.raft.last,
                configuration: process.replica.knownConfigurationIndex)
        case .question: say(.foundingProbe([]), over: connection, toCalled: true)
        case .joining:
            guard node.joining != nil else { return hangUp(connection, atCalled: false) }
            greet(over: connection, from: node, identity: nil, receiver: nil, last: .zero, configuration: .zero)
        case .anything: break
        }
    }

    private func greet(
        over connection: SimConnection, from node: SimNode, identity: ClusterIdentity?, receiver: NodeID?,
        last: EntryID, configuration: LogIndex
    ) {
        let hello = PeerHello(
            identity: identity, sender: node.id, name: node.name, expectedReceiver: receiver,
            peerAddress: node.peerAddress, clientAddress: node.clientAddress, softwareVersion: "sim",
            featureLevel: node.featureLevel, last: last, configurationIndex: configuration)
        say(.hello(hello), over: connection, toCalled: true)
    }

    private func say(
        _ message: PeerMessage, over connection: SimConnection, toCalled: Bool, requestID: UInt64 = 0,
        payload: [UInt8] = []
    ) {
        var writer = ByteWriter()
        message.encode(requestID: requestID, payload: payload.rawSpan, into: &writer)
        send(writer.takeBytes(), over: connection, toCalled: toCalled)
    }

    // MARK: - The end of a call

    func memberDialFailed(_ node: SimNode, _ connection: SimConnection, isRefused: Bool) {
        switch connection.purpose {
        case .question(let token):
            questionEnds(node, token, .failed(isRefused ? "refused the connection" : "does not answer"))
        case .member, .joining, .anything: callEnded(node, connection)
        }
    }

    /// A connection that this node has made is gone.
    func callEnded(_ node: SimNode, _ connection: SimConnection) {
        switch connection.purpose {
        case .member(let id):
            guard let process = node.process,
                let place = process.links.firstIndex(where: { $0.connection === connection })
            else { return }
            let wasUp = process.links[place].isUp
            process.links[place].connection = nil
            process.links[place].isUp = false
            recall(node, id)
            if wasUp { turn(node) { $0.peerDown(id) } }
        case .question(let token): questionEnds(node, token, .failed("closed the connection"))
        case .joining, .anything: break
        }
    }

    /// One that was heard on this connection is not there any more, unless it has called again.
    func hearingEnded(_ node: SimNode, _ connection: SimConnection) {
        guard let process = node.process, let place = process.heard.firstIndex(where: { $0.connection === connection })
        else { return }
        let peer = process.heard.remove(at: place).node
        guard !process.heard.contains(where: { $0.node == peer }) else { return }
        turn(node) { $0.peerInboundLost(peer) }
    }

    func linkWritable(_ node: SimNode, _ connection: SimConnection, _ isWritable: Bool) {
        guard let link = node.process?.links.first(where: { $0.connection === connection }), link.isUp else { return }
        turn(node) { $0.peerWritable(link.member.id, isWritable) }
    }

    // MARK: - What arrives

    /// Frames from another node, as far as they are whole.
    /// - Returns: false when they cannot be read.
    func memberReceived(
        _ node: SimNode, _ connection: SimConnection, toCalled: Bool, _ inbox: inout [UInt8]
    ) -> Bool {
        let received = inbox
        var consumed = 0
        defer { inbox.drop(consumed) }
        do {
            while connection.isOpen(atCalled: toCalled), isAlive(connection.end(called: toCalled)) {
                if toCalled, let peer = node.process?.heard.first(where: { $0.connection === connection })?.node {
                    try hear(peer, node, received, &consumed)
                    return true
                }
                guard let frame = try FrameHeader.scan(
                    received.rawSpan.extracting(consumed..<received.count), sizeMax: Limits.frameSizeMaxDefault)
                else { return true }
                consumed += frame.totalSize
                let message = try PeerMessage.decode(frame.header, body: frame.body)
                if toCalled {
                    try greeted(node, connection, message.message, [UInt8](message.payload), frame.header.requestID)
                } else {
                    replied(node, connection, message.message)
                }
            }
        } catch {
            badBytes(from: connection, "\(error)")
            return false
        }
        return true
    }

    private func hear(_ peer: NodeID, _ node: SimNode, _ received: [UInt8], _ consumed: inout Int) throws {
        var failure: (any Error)?
        turn(node) { replica in
            do {
                while let frame = try FrameHeader.scan(
                    received.rawSpan.extracting(consumed..<received.count), sizeMax: Limits.frameSizeMaxDefault)
                {
                    consumed += frame.totalSize
                    try replica.receivePeerFrame(frame.header, body: frame.body, from: peer)
                }
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    /// The first word of one who calls.
    private func greeted(
        _ node: SimNode, _ connection: SimConnection, _ message: PeerMessage, _ payload: [UInt8], _ requestID: UInt64
    ) throws(DecodeError) {
        switch message {
        case .hello(let hello): receive(hello, node, connection)
        case .foundingProbe:
            let reply = FoundingProbeReply(
                isEmpty: node.process == nil, node: node.id, name: node.name, members: [],
                featureLevel: node.featureLevel)
            say(.foundingProbeReply(reply), over: connection, toCalled: false, requestID: requestID)
        case .foundingCommit:
            let outcome = takePart(node, payload)
            say(.foundingCommitReply(outcome), over: connection, toCalled: false, requestID: requestID)
            guard outcome == .accepted else { return }
            // After the answer has gone out.
            startReplica(node)
        default: throw .invalid("peer message before hello")
        }
    }

    private func receive(_ hello: PeerHello, _ node: SimNode, _ connection: SimConnection) {
        var reply = PeerHelloReply(
            refusal: .noCluster, message: "\(node.name) belongs to no cluster: its data directory is empty",
            version: ProtocolVersion.chosen(from: hello.versions) ?? 0, identity: nil, node: node.id, name: node.name,
            clientAddress: node.clientAddress, softwareVersion: "sim", featureLevel: node.featureLevel,
            lastIndex: .zero, acknowledgedByCaller: .zero)
        guard let process = node.process else {
            return say(.helloReply(reply), over: connection, toCalled: false)
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
        reply.refusal = refusal?.0
        reply.message = refusal?.1 ?? ""
        reply.identity = identity
        reply.lastIndex = process.replica.raft.lastIndex
        if refusal == nil { reply.acknowledgedByCaller = process.replica.acknowledged(by: hello.sender) }
        say(.helloReply(reply), over: connection, toCalled: false)
        if let refusal {
            if hello.identity != nil { tell("\(node.name) refuses \(hello.name): \(refusal.0) \(refusal.1)") }
            return hangUp(connection, atCalled: true)
        }
        let earlier = process.heard.filter { $0.node == hello.sender }
        process.heard.append((hello.sender, connection))
        process.told.note(hello.peerAddress, of: hello.sender)
        for (_, connection) in earlier { hangUp(connection, atCalled: true) }
        turn(node) {
            if !earlier.isEmpty { $0.peerInboundLost(hello.sender) }
            $0.peerSaysLast(hello.last, hello.sender)
            $0.peerInboundUp(hello.sender)
        }
        // Whoever can reach this node can be reached: no waiting for the next attempt.
        callMember(node, hello.sender)
    }

    /// The answer of one who was called.
    private func replied(_ node: SimNode, _ connection: SimConnection, _ message: PeerMessage) {
        switch (connection.purpose, message) {
        case (.member(let id), .helloReply(let reply)): answered(node, connection, id, reply)
        case (.question(let token), .foundingProbeReply(let reply)):
            questionEnds(
                node, token,
                .answered(
                    isEmpty: reply.isEmpty, node: reply.node, name: reply.name, featureLevel: reply.featureLevel))
        case (.joining, .helloReply(let reply)):
            if let address = connection.address { node.joining?.found[address] = reply.identity }
            hangUp(connection, atCalled: false)
        default: hangUp(connection, atCalled: false)
        }
    }

    private func answered(_ node: SimNode, _ connection: SimConnection, _ member: NodeID, _ reply: PeerHelloReply) {
        guard let process = node.process, let place = process.links.firstIndex(where: { $0.connection === connection })
        else { return }
        switch reply.refusal {
        case nil:
            process.links[place].isUp = true
            process.links[place].failures = 0
            turn(node) {
                $0.toldOfAcknowledgement(reply.acknowledgedByCaller, by: member)
                $0.peerUp(member)
            }
        case .noCluster?:
            let record = (node.record ?? founding).handed(to: member, settled: process.replica.settledMembership)
            guard reply.node == member, let record else { return hangUp(connection, atCalled: false) }
            say(.foundingCommit, over: connection, toCalled: true, payload: record.encoded())
        case .removed?:
            hangUp(connection, atCalled: false)
            turn(node) { $0.noteRemoval("\(reply.message), as \(reply.name) says") }
            linksChanged(node)
        case .some: hangUp(connection, atCalled: false)
        }
    }
}
