internal import Client

/// What `status` shows: the answers of all nodes, put together. Pure, so that its judgement of a quorum can be tested.
struct StatusReport {
    /// What one address answered.
    struct Probe {
        var address: String
        var answer: Result<NodeReport, Unreachable>
        /// Named by whoever asks; false: found among the members that another node lists.
        var isNamed = true

        init(address: String, answer: Result<NodeReport, Unreachable>) {
            self.address = address
            self.answer = answer
        }

        /// The client's message begins with the address; the report has a better name for the node.
        init(unreachable address: String, message: String) {
            let reason = message.hasPrefix("\(address) ") ? String(message.dropFirst(address.count + 1)) : message
            self.init(address: address, answer: .failure(Unreachable(reason: reason)))
        }
    }

    /// Why a node did not answer, as a person reads it: "refused the connection".
    struct Unreachable: Error, Hashable {
        var reason: String
    }

    /// One line of the report.
    struct Node {
        var name: String?
        var clientAddress: String
        var peerAddress: String?
        var isVoter: Bool
        var status: NodeReport?
        var progress: NodeReport.Progress?
        var unreachableBecause: String?
    }

    let clusterID: UInt64?
    let generation: UInt64?
    let leader: NodeReport?
    let nodes: [Node]
    let hasQuorum: Bool
    /// The highest multiple of 4,096 that all reachable nodes have applied and still know.
    let digestIndex: UInt64?

    init(_ probes: [Probe]) {
        let replies = probes.compactMap { try? $0.answer.get() }
        let founded = replies.filter { $0.clusterID != nil }.max { ($0.generation ?? 0) < ($1.generation ?? 0) }
        clusterID = founded?.clusterID
        generation = founded?.generation
        // Two nodes may both say that they lead, one of them not knowing yet that it was replaced.
        let leading = replies.filter { $0.role == "leader" }.max { $0.term < $1.term }
        let view = leading ?? replies.max { ($0.term, $0.members.count) < ($1.term, $1.members.count) }
        nodes = Self.merge(probes, members: view?.members ?? [])
        let voters = nodes.filter(\.isVoter)
        let reached = voters.count { $0.status != nil || $0.progress?.isReachable == true }
        hasQuorum = leading != nil && 2 * reached > voters.count
        leader = hasQuorum ? leading : nil
        let digests = nodes.compactMap(\.status).map { Set($0.digests.map(\.index)) }
        digestIndex = digests.dropFirst().reduce(digests.first ?? []) { $0.intersection($1) }.max()
    }

    var term: UInt64? { nodes.compactMap(\.status?.term).max() }

    private static func merge(_ probes: [Probe], members: [NodeReport.Member]) -> [Node] {
        var nodes: [Node] = []
        var answered: [UInt64: Probe] = [:]
        for probe in probes {
            if case .success(let reply) = probe.answer { answered[reply.id] = probe }
        }
        func reason(at address: String) -> String? {
            for probe in probes where probe.address == address {
                if case .failure(let unreachable) = probe.answer { return unreachable.reason }
            }
            return nil
        }
        for member in members {
            let status = answered.removeValue(forKey: member.id).flatMap { try? $0.answer.get() }
            nodes.append(
                Node(
                    name: member.name, clientAddress: status?.clientAddress ?? member.clientAddress,
                    peerAddress: member.peerAddress, isVoter: member.isVoter, status: status, progress: member.progress,
                    unreachableBecause: status == nil ? reason(at: member.clientAddress) ?? "did not answer" : nil))
        }
        // Of the addresses that were named: nodes that belong to no cluster, or to one that does not list them, as those that
        // were removed; then addresses that nobody claims.
        for probe in probes where probe.isNamed {
            switch probe.answer {
            case .success(let reply):
                guard answered.removeValue(forKey: reply.id) != nil else { continue }
                nodes.append(
                    Node(
                        name: reply.name, clientAddress: reply.clientAddress, peerAddress: reply.peerAddress,
                        isVoter: false, status: reply))
            case .failure(let unreachable):
                guard !nodes.contains(where: { $0.clientAddress == probe.address }) else { continue }
                nodes.append(
                    Node(
                        name: nil, clientAddress: probe.address, peerAddress: nil, isVoter: members.isEmpty,
                        unreachableBecause: unreachable.reason))
            }
        }
        return nodes.sorted { ($0.name ?? "~", $0.clientAddress) < ($1.name ?? "~", $1.clientAddress) }
    }
}

// MARK: JSON

extension StatusReport {
    var json: JSON {
        .object([
            ("clusterID", .optional(clusterID.map(JSON.hexadecimal))),
            ("generation", .optional(generation)),
            ("leader", .optional(leader?.name)),
            ("term", .optional(term)),
            ("nodes", .array(nodes.map { json(of: $0) })),
            ("alarms", .number(UInt64(AlarmReport(self).entries.count))),
        ])
    }

    private func json(of node: Node) -> JSON {
        let status = node.status
        let digest = status?.digests.first { $0.index == digestIndex }?.digest
        var members: [(String, JSON)] = [
            ("name", .optional(node.name)),
            ("role", .optional(status?.role)),
            ("state", .optional(status?.state ?? node.progress?.state)),
            ("reachable", .bool(status != nil)),
            ("client", .string(node.clientAddress)),
            ("peer", .optional(node.peerAddress)),
            ("voter", .bool(node.isVoter)),
            ("term", .optional(status?.term)),
            ("commitIndex", .optional(status?.commitIndex)),
            ("appliedIndex", .optional(status?.appliedIndex)),
            ("firstIndex", .optional(status?.firstIndex)),
            ("lastIndex", .optional(status?.lastIndex)),
            ("feedFloor", .optional(status?.feedFloor)),
            ("lag", .optional(node.progress?.lag)),
            ("digest", .optional(digest.map(JSON.hexadecimal))),
            ("digestIndex", .optional(digest == nil ? nil : digestIndex)),
            ("diskUsed", .optional(status?.diskUsed)),
            ("diskFree", .optional(status?.diskFree)),
            ("version", .optional(status?.softwareVersion)),
            ("uptimeSeconds", .optional(status?.uptimeSeconds)),
        ]
        if let reason = node.unreachableBecause { members.append(("error", .string(reason))) }
        return .object(members)
    }
}

// MARK: Text

extension StatusReport {
    var text: String {
        var lines: [String] = []
        if let clusterID {
            lines.append("cluster \(JSON.hexadecimal(clusterID)), generation \(generation ?? 0)")
        } else if nodes.contains(where: { $0.status != nil }) {
            lines.append("no cluster yet: run `quorate init` once all of its nodes are up")
        }
        lines.append(headline)
        lines.append("")
        lines += Self.table(
            [["NODE", "ROLE", "STATE", "TERM", "COMMIT", "APPLIED", "LAG", "DISK", "FREE", "VERSION", "CLIENT"]]
                + nodes.map(row))
        if let hint = AlarmReport(self).hint { lines += ["", hint] }
        return lines.joined(separator: "\n")
    }

    /// "no quorum: reached 1 of 3; n2 refused the connection, n3 timed out"
    var headline: String {
        if let leader { return "leader \(leader.name), term \(leader.term)" }
        let reached = nodes.count { $0.status != nil }
        let missing = nodes.compactMap { node in
            node.unreachableBecause.map { "\(node.name ?? node.clientAddress) \($0)" }
        }
        let reasons = missing.isEmpty ? "" : "; " + missing.joined(separator: ", ")
        return "no quorum: reached \(reached) of \(nodes.count)\(reasons)"
    }

    private func row(_ node: Node) -> [String] {
        let name = node.name ?? "?"
        guard let status = node.status else {
            return [name, "-", "unreachable", "-", "-", "-", "-", "-", "-", "-", node.clientAddress]
        }
        return [
            name, status.role ?? "-", status.state, "\(status.term)",
            "\(status.commitIndex)", "\(status.appliedIndex)", node.progress.map { "\($0.lag)" } ?? "-",
            SizeQuantity.text(status.diskUsed), SizeQuantity.text(status.diskFree), status.softwareVersion,
            node.clientAddress,
        ]
    }

    /// Columns as wide as their widest cell.
    static func table(_ rows: [[String]]) -> [String] {
        let widths = (rows.first ?? []).indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            let cells = zip(row, widths).map { cell, width in
                cell + String(repeating: " ", count: max(0, width - cell.count))
            }
            var line = cells.joined(separator: "  ")
            while line.last == " " { line.removeLast() }
            return line
        }
    }
}
