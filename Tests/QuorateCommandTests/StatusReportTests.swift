import Foundation
import Testing

@testable import Client
@testable import quorate

@Suite("The status report")
struct StatusReportTests {
    private func node(
        _ number: UInt64, role: String? = "follower", term: UInt64 = 3, digests: [UInt64] = [],
        reachable: Set<UInt64> = []
    ) -> NodeReport {
        let members = (1...3 as ClosedRange<UInt64>).map { id in
            NodeReport.Member(
                id: id, name: "n\(id)", peerAddress: "127.0.0.1:75\(id)", clientAddress: "127.0.0.1:740\(id - 1)",
                softwareVersion: "0.1.0", isVoter: true,
                progress: role == "leader"
                    ? NodeReport.Progress(
                        isReachable: reachable.contains(id), state: "ok", matchIndex: 100, appliedIndex: 90, lag: id)
                    : nil)
        }
        return NodeReport(
            clusterID: role == nil ? nil : 0xABC, generation: role == nil ? nil : 1, id: number, name: "n\(number)",
            role: role, state: role == nil ? "waiting" : "ok", term: term, commitIndex: 100, appliedIndex: 90,
            firstIndex: 1, lastIndex: 100, digests: digests.map { .init(index: $0, digest: $0 * 7) }, diskUsed: 1_536,
            diskFree: 1 << 30, softwareVersion: "0.1.0", uptimeSeconds: 5,
            clientAddress: "127.0.0.1:740\(number - 1)", peerAddress: "127.0.0.1:750\(number - 1)",
            leaderName: nil, leaderAddress: nil, members: role == nil ? [] : members)
    }

    private func reached(_ node: NodeReport) -> StatusReport.Probe {
        StatusReport.Probe(address: node.clientAddress, answer: .success(node))
    }

    private func refused(_ number: Int, _ message: String = "refused the connection") -> StatusReport.Probe {
        StatusReport.Probe(unreachable: "127.0.0.1:740\(number - 1)", message: "127.0.0.1:740\(number - 1) \(message)")
    }

    @Test("A leader and a majority are a quorum, and an unreachable node keeps its name")
    func quorum() {
        let report = StatusReport([reached(node(1, role: "leader", reachable: [1, 2])), reached(node(2)), refused(3)])
        #expect(report.hasQuorum)
        #expect(report.headline == "leader n1, term 3")
        #expect(report.nodes.map(\.name) == ["n1", "n2", "n3"])
        #expect(report.nodes[2].unreachableBecause == "refused the connection")
        #expect(
            report.json.text.hasPrefix(
                #"{"clusterID":"0000000000000abc","generation":1,"leader":"n1","term":3,"nodes":[{"name":"n1","role":"leader","state":"ok","reachable":true,"#
            ))
        #expect(report.json.text.contains(#""name":"n3","role":null"#))
    }

    @Test("Followers without a leader are no quorum, and the headline says who is missing and why")
    func noQuorum() {
        let report = StatusReport([reached(node(1)), refused(2), refused(3, "timed out")])
        #expect(!report.hasQuorum)
        #expect(report.headline == "no quorum: reached 1 of 3; n2 refused the connection, n3 timed out")
        #expect(report.json.text.contains(#""leader":null"#))
    }

    @Test("A node that says it leads, and reaches nobody, is none")
    func deposedLeader() {
        #expect(!StatusReport([reached(node(1, role: "leader", reachable: [1])), refused(2), refused(3)]).hasQuorum)
    }

    @Test("Of two that say they lead, the one of the higher term is believed")
    func twoLeaders() {
        let report = StatusReport([
            reached(node(1, role: "leader", term: 3, reachable: [1])),
            reached(node(2, role: "leader", term: 4, reachable: [2, 3])), reached(node(3, term: 4)),
        ])
        #expect(report.leader?.name == "n2")
        #expect(report.term == 4)
    }

    @Test("Digests are shown at the last index that all reachable nodes have in common")
    func digests() {
        let report = StatusReport([
            reached(node(1, role: "leader", digests: [4_096, 8_192, 12_288], reachable: [1, 2, 3])),
            reached(node(2, digests: [4_096, 8_192])), reached(node(3, digests: [8_192, 12_288])),
        ])
        #expect(report.digestIndex == 8_192)
        #expect(report.json.text.contains(#""digest":"000000000000e000","digestIndex":8192"#))
        let none = StatusReport([reached(node(1, digests: [4_096])), reached(node(2, digests: [8_192]))])
        #expect(none.digestIndex == nil)
        #expect(none.json.text.contains(#""digest":null,"digestIndex":null"#))
    }

    @Test("Nodes that belong to no cluster yet are told how to form one")
    func waiting() {
        let report = StatusReport([reached(node(1, role: nil)), reached(node(2, role: nil))])
        #expect(!report.hasQuorum)
        #expect(report.text.hasPrefix("no cluster yet: run `quorate init`"))
        #expect(report.json.text.contains(#""state":"waiting""#))
    }

    @Test("Nobody there: every address is listed with its reason")
    func nobody() {
        let report = StatusReport([refused(1), refused(2), refused(3, "timed out")])
        #expect(
            report.headline
                == "no quorum: reached 0 of 3; 127.0.0.1:7400 refused the connection, 127.0.0.1:7401 refused the connection, 127.0.0.1:7402 timed out"
        )
        #expect(!report.text.contains("no cluster yet"))
    }

    @Test("The table's columns are aligned and have no blanks at the end")
    func table() {
        let lines = StatusReport([reached(node(1, role: "leader", reachable: [1, 2])), refused(2), reached(node(3))])
            .text.split(separator: "\n").suffix(4)
        let columns = lines.map {
            $0.distance(
                from: $0.startIndex,
                to: $0.range(of: "  127.0.0.1:74", options: .backwards)?.lowerBound ?? $0.startIndex)
        }
        #expect(Set(columns.dropFirst()).count == 1)
        #expect(lines.allSatisfy { $0.last != " " })
    }
}
