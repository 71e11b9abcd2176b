internal import Basics
internal import MetadataModel
internal import Wire

/// Who belongs to the cluster: a caller that names one node must not depend on that node.
extension ClientState {
    /// How soon the same node is asked again: while it does not know every address itself, or after a new leader has
    /// shown itself.
    private static let pauseMin = Interval.seconds(1)
    /// Members come and go under a leader that stays.
    private static let pauseMax = Interval.seconds(30)

    /// Asks each node once per connection, and the one that requests go to again from time to time. Nothing wakes up
    /// for this: a client with nothing to do has nothing to ask.
    mutating func askForMembers() {
        guard !isClosing else { return }
        let route = self.route
        for place in nodes.indices where nodes[place].isUsable {
            let question = nodes[place].membersQuestion
            guard !question.isUnderWay, question.askedAt == nil || (place == route && question.dueAt <= now),
                let limits = nodes[place].hello?.limits, nodes[place].requestCount < Int(limits.requestsMax)
            else { continue }
            let requestID = takeRequestID()
            expectReply(requestID, from: place, for: .members)
            nodes[place].membersQuestion = MembersQuestion(isUnderWay: true, askedAt: now, dueAt: now + Self.pauseMax)
            ClientRequest.encodeEmpty(.status, requestID: requestID, into: &nodes[place].outbox)
        }
    }

    /// Another node leads: its list is the one that counts. Not at once if it has just been asked: nodes that
    /// contradict each other about the leader would have the client ask in circles.
    mutating func askForMembersSoon(_ place: Int) {
        guard let askedAt = nodes[place].membersQuestion.askedAt else { return }
        let soon = askedAt + Self.pauseMin
        nodes[place].membersQuestion.dueAt = min(nodes[place].membersQuestion.dueAt, soon)
    }

    mutating func membersRefused(by place: Int) {
        nodes[place].membersQuestion.isUnderWay = false
        askForMembersSoon(place)
    }

    /// Remembers every member that has an address. The leader's list, if it is complete, also says who has left; that
    /// of another node may be older than what is known already.
    mutating func membersAnswered(_ reply: StatusReply, from place: Int) {
        nodes[place].membersQuestion.isUnderWay = false
        saw(reply.revision)
        guard reply.identity == identity, !reply.members.isEmpty else { return }
        let known = reply.members.filter { !$0.clientAddress.isEmpty }
        if known.count < reply.members.count {
            askForMembersSoon(place)
        } else if reply.node.role == .leader {
            for other in nodes.indices {
                let node = nodes[other]
                nodes[other].isMember = known.contains { $0.clientAddress == node.address }
                // One whose name is not known may be a member that the caller knows by another address.
                nodes[other].hasLeft =
                    !nodes[other].isMember && node.name != nil && !known.contains { $0.name == node.name }
            }
            dropUnneeded()
        }
        for member in known {
            guard let found = makeNode(member.clientAddress) else { continue }
            nodes[found].isMember = true
            nodes[found].hasLeft = false
            if nodes[found].name == nil { nodes[found].name = member.name }
        }
    }

    /// Forgets the nodes that neither the caller nor the cluster names, as far as nothing hangs on them.
    private mutating func dropUnneeded() {
        for place in nodes.indices.reversed() {
            let node = nodes[place]
            guard !node.isConfigured, !node.isMember, node.isIdle, place != leader,
                !addressed.contains(where: { calls[$0]?.address == node.address })
            else { continue }
            nodes.remove(at: place)
            nodeOfConnection = nodeOfConnection.mapValues { $0 > place ? $0 - 1 : $0 }
            if let leader, leader > place { self.leader = leader - 1 }
            if rotation > place { rotation -= 1 }
            if dialRotation > place { dialRotation -= 1 }
        }
        // A node is left: the one that answered has a connection.
        rotation %= nodes.count
        dialRotation %= nodes.count
    }
}

/// The question for the members, on one connection.
struct MembersQuestion: Sendable {
    var isUnderWay = false
    var askedAt: Instant?
    /// Not again before then.
    var dueAt = Instant.zero
}
