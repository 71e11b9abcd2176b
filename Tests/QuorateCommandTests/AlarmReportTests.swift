import Testing

@testable import Client
@testable import quorate

@Suite("The list of alarms")
struct AlarmReportTests {
    private func node(
        _ number: UInt64, role: String = "follower", alarms: [NodeReport.Alarm] = [], reachable: Set<UInt64> = [],
        state: String = "ok", members count: UInt64 = 3
    ) -> NodeReport {
        let members = (1...count).map { id in
            NodeReport.Member(
                id: id, name: "n\(id)", peerAddress: "h:75\(id)", clientAddress: "h:740\(id)", softwareVersion: "0.1.0",
                isVoter: true,
                progress: role == "leader"
                    ? NodeReport.Progress(
                        isReachable: reachable.contains(id), state: "ok", matchIndex: 1, appliedIndex: 1, lag: 0)
                    : nil)
        }
        return NodeReport(
            clusterID: 7, generation: 1, id: number, name: "n\(number)", role: state == "removed" ? nil : role,
            state: state, term: 3, commitIndex: 1, appliedIndex: 1, firstIndex: 1, lastIndex: 1, digests: [],
            diskUsed: 0, diskFree: 1, softwareVersion: "0.1.0", uptimeSeconds: 5, clientAddress: "h:740\(number)",
            peerAddress: "h:75\(number)", leaderName: nil, leaderAddress: nil, members: members, alarms: alarms)
    }

    private func alarm(_ name: String, _ node: String, isActive: Bool = true) -> NodeReport.Alarm {
        NodeReport.Alarm(
            name: name, node: node, since: 1_700_000_000_123_456_789, isActive: isActive, detail: "why", remedy: "do it")
    }

    private func reached(_ node: NodeReport) -> StatusReport.Probe {
        StatusReport.Probe(address: node.clientAddress, answer: .success(node))
    }

    private func report(_ probes: StatusReport.Probe...) -> AlarmReport { AlarmReport(StatusReport(probes)) }

    @Test("Alarms of all nodes, by node and name, with what to do and how to clear what is over")
    func all() {
        let found = report(
            reached(node(1, role: "leader", reachable: [1, 2, 3])),
            reached(node(2, alarms: [alarm("damage", "n2", isActive: false), alarm("certificateExpiring", "n2")])),
            reached(node(3, alarms: [alarm("diskLow", "n3")])))
        #expect(found.entries.map(\.name) == ["certificateExpiring", "damage", "diskLow"])
        #expect(
            found.text == """
                NODE  ALARM                SINCE                 STATE   DETAIL
                n2    certificateExpiring  2023-11-14T22:13:20Z  active  why
                    do: do it
                n2    damage               2023-11-14T22:13:20Z  over    why
                    do: do it, then `quorate alarm clear damage`
                n3    diskLow              2023-11-14T22:13:20Z  active  why
                    do: do it
                """)
        #expect(
            found.json.text.hasPrefix(
                #"{"alarms":[{"name":"certificateExpiring","node":"n2","since":"2023-11-14T22:13:20Z","active":true,"#))
        #expect(found.hint == "3 alarms stand (certificateExpiring, damage, diskLow): run `quorate alarm list`")
    }

    @Test("A member that nobody reaches is told of once: by the leader, or where it tells nothing by who asks")
    func unreachable() {
        let gone = StatusReport.Probe(unreachable: "h:7403", message: "h:7403 timed out")
        let told = report(
            reached(node(1, role: "leader", alarms: [alarm("unreachable", "n3")], reachable: [1, 2])),
            reached(node(2)), gone)
        #expect(told.entries.map(\.detail) == ["why"])
        #expect(told.unheard == ["n3"])
        let seen = report(reached(node(1, role: "leader", reachable: [1, 2])), reached(node(2)), gone)
        #expect(seen.entries.map(\.name) == ["unreachable"] && seen.entries.map(\.detail) == ["it timed out"])
        #expect(seen.entries.map(\.since) == [nil])
        // The leader hears it: the fault is between it and this machine.
        let heard = report(reached(node(1, role: "leader", reachable: [1, 2, 3])), reached(node(2)), gone)
        #expect(heard.entries.isEmpty && heard.unheard == ["n3"] && heard.hint == nil)
        #expect(heard.text == "no alarms")
    }

    @Test("Without a quorum that comes first, whatever else there is")
    func noQuorum() {
        let found = report(reached(node(1)), StatusReport.Probe(unreachable: "h:7402", message: "h:7402 refused it"))
        #expect(found.entries.map(\.name) == ["noQuorum", "unreachable", "unreachable"])
        #expect(found.entries.first?.node == nil)
    }

    @Test("A removed node is in the report of who names it, and in nobody else's")
    func removed() {
        let leader = reached(node(1, role: "leader", reachable: [1, 2], members: 2))
        var gone = reached(node(3, state: "removed"))
        #expect(StatusReport([leader, reached(node(2, members: 2)), gone]).nodes.map(\.name) == ["n1", "n2", "n3"])
        gone.isNamed = false
        #expect(StatusReport([leader, reached(node(2, members: 2)), gone]).nodes.map(\.name) == ["n1", "n2"])
    }
}
