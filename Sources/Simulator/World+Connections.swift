internal import Basics
internal import ClientCore
internal import RaftCore
internal import ReplicaCore
internal import Wire

/// The connections of nodes: how they come about, what arrives on them, what their ends mean.
extension World {
    func dialPeer(_ node: SimNode, _ peer: Int) {
        guard let process = node.process, process.outgoing[peer] == nil else { return }
        dial(
            SimConnection(
                caller: .node(node.number, life: node.life), called: .node(peer, life: nodes[peer].life)))
    }

    private func redial(_ node: SimNode, _ peer: Int) {
        schedule(
            .dialPeer(node: node.number, life: node.life, peer: peer),
            after: networkChance.interval(network.redialMin, network.redialMax))
    }

    /// The called node takes the connection.
    func accepted(_ connection: SimConnection) {
        guard case .node(let number, _) = connection.called, let process = nodes[number].process else { return }
        switch connection.caller {
        case .node(let peer, _): if !settings.changesMembers { process.incoming[peer] = connection }
        case .client:
            guard !refusesForLimits(connection, process) else { return }
            connection.isTaken = true
            turn(nodes[number]) { replica in
                let slot = replica.clientConnected()
                connection.slotNumber = UInt64(slot.position)
                while process.clients.count <= Int(slot.position) {
                    process.clients.append(nil)
                    process.slots.append(nil)
                }
                process.clients[Int(slot.position)] = connection
                process.slots[Int(slot.position)] = slot
            }
        }
    }

    func dialSucceeded(_ connection: SimConnection) {
        guard connection.isOpenAtCaller, isAlive(connection.caller) else { return }
        switch connection.caller {
        case .client(let number, let id): clientConnected(clients[number], id)
        case .node(let number, _):
            if settings.changesMembers { return memberDialled(nodes[number], connection) }
            guard case .node(let peer, _) = connection.called, let process = nodes[number].process else { return }
            process.outgoing[peer] = connection
            let id = nodes[peer].id
            let acknowledged = greet(nodes[peer], from: nodes[number])
            turn(nodes[number]) {
                $0.toldOfAcknowledgement(acknowledged, by: id)
                $0.peerUp(id)
            }
        }
    }

    func dialFailed(_ connection: SimConnection, isRefused: Bool) {
        guard connection.isOpenAtCaller, isAlive(connection.caller) else { return }
        connection.isOpenAtCaller = false
        switch connection.caller {
        case .client(let number, let id): clientDisconnected(clients[number], id, isRefused ? .refused : .timedOut)
        case .node(let number, _):
            if settings.changesMembers { return memberDialFailed(nodes[number], connection, isRefused: isRefused) }
            if case .node(let peer, _) = connection.called { redial(nodes[number], peer) }
        }
    }

    /// One end learns that the connection is gone.
    func endReached(_ connection: SimConnection, atCalled: Bool) {
        guard connection.isOpen(atCalled: atCalled) else { return }
        if atCalled { connection.isOpenAtCalled = false } else { connection.isOpenAtCaller = false }
        endReachedLocally(connection, atCalled: atCalled)
    }

    func endReachedLocally(_ connection: SimConnection, atCalled: Bool) {
        let end = connection.end(called: atCalled)
        guard isAlive(end) else { return }
        switch end {
        case .client(let number, let id): clientDisconnected(clients[number], id, .closed)
        case .node(let number, _):
            if settings.changesMembers, case .node = connection.end(called: !atCalled) {
                let node = nodes[number]
                return atCalled ? hearingEnded(node, connection) : callEnded(node, connection)
            }
            guard let process = nodes[number].process else { return }
            switch connection.end(called: !atCalled) {
            case .client:
                let position = Int(connection.slotNumber)
                guard connection.isTaken, process.clients[position] === connection, let slot = process.slots[position]
                else { return }
                process.clients[position] = nil
                process.slots[position] = nil
                turn(nodes[number]) { $0.clientDisconnected(slot) }
            case .node(let peer, _):
                let id = nodes[peer].id
                if atCalled {
                    guard process.incoming[peer] === connection else { return }
                    process.incoming[peer] = nil
                    turn(nodes[number]) { $0.peerInboundLost(id) }
                } else {
                    let wasUp = process.outgoing[peer] === connection
                    if wasUp { process.outgoing[peer] = nil }
                    redial(nodes[number], peer)
                    if wasUp { turn(nodes[number]) { $0.peerDown(id) } }
                }
            }
        }
    }

    func writabilityChanged(_ connection: SimConnection, toCalled: Bool, isWritable: Bool) {
        guard toCalled else { return clientWritable(connection, isWritable) }
        guard case .node(let number, _) = connection.caller, isAlive(connection.caller),
            case .node(let peer, _) = connection.called
        else { return }
        if settings.changesMembers { return linkWritable(nodes[number], connection, isWritable) }
        let id = nodes[peer].id
        turn(nodes[number]) { $0.peerWritable(id, isWritable) }
    }

    /// What a node has for a client waits, because the way there is blocked, or does not any more.
    private func clientWritable(_ connection: SimConnection, _ isWritable: Bool) {
        guard case .client = connection.caller, case .node(let number, _) = connection.called, connection.isTaken,
            isAlive(connection.called), let process = nodes[number].process
        else { return }
        let position = Int(connection.slotNumber)
        guard process.clients[position] === connection, let slot = process.slots[position] else { return }
        if isWritable {
            turn(nodes[number]) { $0.clientWritable(slot, true) }
        } else {
            // In the middle of sending, and nothing follows from it.
            process.replica.clientWritable(slot, false)
        }
    }

    /// Bytes have arrived: whole frames are handed over, the rest waits for more.
    func delivered(_ bytes: [UInt8], over connection: SimConnection, toCalled: Bool) {
        let end = connection.end(called: toCalled)
        guard connection.isOpen(atCalled: toCalled), isAlive(end) else { return }
        // Mostly nothing was waiting, and what comes is whole: then no byte is copied.
        var inbox = connection.takeInbox(toCalled: toCalled)
        if inbox.isEmpty { inbox = bytes } else { inbox.append(contentsOf: bytes) }
        let isSound: Bool
        switch end {
        case .client(let number, let id): isSound = clientReceived(clients[number], id, &inbox)
        case .node(let number, _):
            let node = nodes[number]
            switch connection.caller {
            case .node where settings.changesMembers:
                isSound = memberReceived(node, connection, toCalled: toCalled, &inbox)
            case .client where node.joining != nil: isSound = answerWithoutCluster(node, connection, &inbox)
            case .node, .client:
                // One from before the node took part is new to its replica.
                if case .client = connection.caller, !connection.isTaken { accepted(connection) }
                isSound = nodeReceived(node, connection, &inbox)
            }
        }
        connection.putBack(inbox, toCalled: toCalled)
        guard !isSound else { return }
        close(connection, atCalled: toCalled)
        endReachedLocally(connection, atCalled: toCalled)
    }

    private func nodeReceived(_ node: SimNode, _ connection: SimConnection, _ inbox: inout [UInt8]) -> Bool {
        var slot: ConnectionSlot?
        var peer: NodeID?
        switch connection.caller {
        case .client: slot = node.process?.slots[Int(connection.slotNumber)]
        case .node(let number, _): peer = nodes[number].id
        }
        var isSound = true
        let received = inbox
        var consumed = 0
        turn(node) { replica in
            do {
                while let frame = try FrameHeader.scan(
                    received.rawSpan.extracting(consumed..<received.count), sizeMax: Limits.frameSizeMaxDefault)
                {
                    consumed += frame.totalSize
                    if let slot {
                        try replica.receiveClientFrame(frame.header, body: frame.body, from: slot)
                    } else if let peer {
                        try replica.receivePeerFrame(frame.header, body: frame.body, from: peer)
                    }
                }
            } catch {
                isSound = false
                badBytes(from: connection, "\(error)")
            }
        }
        inbox.drop(consumed)
        return isSound
    }
}
