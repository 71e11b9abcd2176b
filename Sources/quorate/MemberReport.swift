internal import Client

/// What `member list` shows: the members as one node knows them, the leader if it answers.
struct MemberReport {
    let members: [NodeReport.Member]
    let leaderName: String?
    /// Only a leader knows how far the others are; nil when none answered.
    let isFromLeader: Bool

    /// Nil when nobody answered who belongs to a cluster.
    init?(_ probes: [StatusReport.Probe]) {
        let replies = probes.compactMap { try? $0.answer.get() }.filter { $0.clusterID != nil && $0.state != "removed" }
        let leading = replies.filter { $0.role == "leader" }.max { $0.term < $1.term }
        guard let view = leading ?? replies.max(by: { ($0.term, $0.commitIndex) < ($1.term, $1.commitIndex) }) else {
            return nil
        }
        members = view.members.sorted { $0.name < $1.name }
        leaderName = leading?.name ?? view.leaderName
        isFromLeader = leading != nil
    }

    /// That the node says so itself.
    func leads(_ name: String) -> Bool { isFromLeader && leaderName == name }

    private func lag(of member: NodeReport.Member) -> UInt64? {
        member.progress?.lag ?? (isFromLeader && member.name == leaderName ? 0 : nil)
    }

    private func isReachable(_ member: NodeReport.Member) -> Bool? {
        member.progress?.isReachable ?? (isFromLeader && member.name == leaderName ? true : nil)
    }

    var json: JSON {
        .object([
            ("leader", .optional(leaderName)),
            (
                "members",
                .array(
                    members.map { member in
                        .object([
                            ("name", .string(member.name)), ("id", .string(JSON.hexadecimal(member.id))),
                            ("voter", .bool(member.isVoter)), ("leader", .bool(member.name == leaderName)),
                            ("peer", .string(member.peerAddress)), ("client", .string(member.clientAddress)),
                            ("reachable", isReachable(member).map { .bool($0) } ?? .null),
                            ("lag", .optional(lag(of: member))), ("version", .string(member.softwareVersion)),
                        ])
                    })
            ),
        ])
    }

    var text: String {
        let rows = members.map { member in
            [
                member.name, member.name == leaderName ? "leader" : member.isVoter ? "voter" : "learner",
                isReachable(member).map { $0 ? "yes" : "no" } ?? "?", lag(of: member).map { "\($0)" } ?? "?",
                member.peerAddress, member.clientAddress.isEmpty ? "?" : member.clientAddress,
                JSON.hexadecimal(member.id),
            ]
        }
        return StatusReport.table([["NAME", "ROLE", "REACHED", "LAG", "PEER", "CLIENT", "ID"]] + rows)
            .joined(separator: "\n")
    }
}

extension ClusterClient {
    func members() async throws -> MemberReport {
        let probes = await probe()
        if let report = MemberReport(probes) { return report }
        let reasons = probes.map { probe in
            switch probe.answer {
            case .success(let node): "\(node.name) belongs to no cluster"
            case .failure(let unreachable): "\(probe.address) \(unreachable.reason)"
            }
        }
        throw CommandError("unavailable", "no member answers: \(reasons.joined(separator: ", "))", isRetryable: true)
    }

    func addMember(_ node: NamedAddress, replacing: String?) async throws -> MembersChanged {
        try await client.addMember(node.name, peerAddress: node.address, replacing: replacing)
    }

    func promoteMember(_ name: String) async throws -> MembersChanged { try await client.promoteMember(name) }
    func removeMember(_ name: String) async throws -> MembersChanged { try await client.removeMember(name) }
    func updateMember(_ name: String, peerAddress: String) async throws -> MembersChanged {
        try await client.updateMember(name, peerAddress: peerAddress)
    }
    func transferLeadership(to name: String?) async throws -> MembersChanged {
        try await client.transferLeadership(to: name)
    }

    /// Longer than an election and a redial take; a learner that gets no nearer in this time does not get there.
    private static var patience: Duration { .seconds(30) }

    func replaceMember(_ old: String, by new: NamedAddress) async throws -> MembersChanged {
        let goes = old == new.name ? MetadataClient.nameOfReplaced(old) : old
        let before = try await members().members
        let isAdded = before.contains { $0.name == new.name && $0.peerAddress == new.address && !$0.isVoter }
        if !isAdded { _ = try await addMember(new, replacing: old) }
        var least = UInt64.max
        var nearerAt = ContinuousClock.now
        while true {
            do throws(ClientError) {
                return try await client.exchangeMember(goes, for: new.name)
            } catch {
                guard error.code.rawValue == "notCaughtUp" || error.code.rawValue == "changeUnderWay" else {
                    throw CommandError(error)
                }
                if let lag = error.limit, lag < least {
                    least = lag
                    nearerAt = .now
                }
                guard ContinuousClock.now - nearerAt < Self.patience else {
                    throw CommandError(
                        "notCaughtUp",
                        "\(error.message). \(new.name) stays a learner; run the same command again to go on, or `quorate "
                            + "member remove \(new.name)` to undo it", isRetryable: true)
                }
            }
            try await Task.sleep(for: .milliseconds(200))
        }
    }
}
