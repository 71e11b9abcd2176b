import Basics
import Foundation
import RaftCore
import Testing

/// Transcripts in `Scripts/`: a command at the left margin, and indented below it what it must print. A new bug becomes
/// a new script.
///
///     nodes V [learners L…]      a cluster of V voters
///     campaign N                 N's timer runs out, until it leads
///     tick N                     N's timer runs out, once; nothing is delivered
///     deliver                    deliver and sync until nothing is left; prints every message
///     settle                     the same, silently
///     sync                       all disks finish; prints what that sends
///     propose N COUNT            N, a leader, takes commands
///     read N                     N asks for a ReadIndex; `reads N` prints what was granted
///     change N V…                N, a leader, changes the voters
///     transfer N TO
///     crash N, restart N, stall N, unstall N
///     cut A B, isolate N, heal   links, one way and all
///     linkLost N PEER, linkRestored N PEER
///     compact N INDEX, offer N (its snapshot is ready), install N
///     advance MILLISECONDS       everybody's timers run; silently
///     show                       one line a node
///     log N                      terms by index
///
/// With QUORATE_RECORD=1 in the environment the scripts are rewritten with what they print; read the difference.
@Suite struct ScriptTests {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Scripts")

    static var names: [String] {
        let files = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return files.filter { $0.hasSuffix(".txt") }.sorted()
    }

    @Test("the scripts are found") func scriptsExist() { #expect(Self.names.count >= 6) }

    @Test("each script prints what it says", arguments: names)
    func script(name: String) throws {
        let file = Self.folder.appendingPathComponent(name)
        let text = try String(contentsOf: file, encoding: .utf8)
        var script = Script()
        var printed: [String] = []
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        where !line.hasPrefix("    ") {
            printed.append(line)
            if !line.isEmpty, !line.hasPrefix("#") {
                printed += try script.run(line).map { "    " + $0 }
            }
        }
        let result = printed.joined(separator: "\n")
        if ProcessInfo.processInfo.environment["QUORATE_RECORD"] != nil {
            try result.write(to: file, atomically: true, encoding: .utf8)
        }
        let expected = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        for (number, (line, want)) in zip(printed, expected).enumerated() where line != want {
            Issue.record("\(name):\(number + 1): printed \"\(line)\", expected \"\(want)\"")
            return
        }
        #expect(printed.count == expected.count, "\(name): one is longer")
    }
}

struct Script {
    struct Unknown: Error { var line: String }

    private var cluster = TestCluster(1)

    mutating func run(_ line: String) throws -> [String] {
        let words = line.split(separator: " ").map(String.init)
        let numbers = words.dropFirst().compactMap { UInt64($0) }
        cluster.trace = []
        switch words[0] {
        case "nodes":
            let learners = numbers.dropFirst()
            cluster = TestCluster(Int(numbers[0]), learners: Array(learners), strangers: [9])
        case "campaign": cluster.campaign(numbers[0], attempts: 200)
        case "tick":
            cluster.now = max(cluster.now, cluster.raft(numbers[0]).nextDeadline)
            cluster.step(numbers[0], .deadlineReached)
            return cluster.trace
        case "deliver":
            let onTheWay = cluster.network.map(\.description)
            cluster.settle()
            return onTheWay + cluster.trace
        case "settle": cluster.settle()
        case "sync":
            cluster.syncDisks()
            return cluster.trace
        case "propose": cluster.propose(numbers[0], count: Int(numbers[1]))
        case "read": _ = cluster.read(numbers[0])
        case "reads":
            return cluster[numbers[0]].reads.map { grant in
                "read \(grant.token.rawValue) at \(grant.readIndex.map { "\($0)" } ?? "unknown")"
            }
        case "change": cluster.change(numbers[0], to: Array(numbers.dropFirst()))
        case "transfer": cluster.step(numbers[0], .transferRequested(to: NodeID(numbers[1])))
        case "crash": cluster.crash(numbers[0])
        case "restart": cluster.restart(numbers[0])
        case "stall": cluster[numbers[0]].isDiskStalled = true
        case "unstall": cluster[numbers[0]].isDiskStalled = false
        case "cut": cluster.cut(numbers[0], numbers[1])
        case "isolate": cluster.isolate(numbers[0])
        case "heal": cluster.heal()
        case "linkLost": cluster.step(numbers[0], .linkLost(NodeID(numbers[1])))
        case "linkRestored": cluster.step(numbers[0], .linkRestored(NodeID(numbers[1])))
        case "compact": cluster.compact(numbers[0], through: numbers[1])
        case "offer": cluster.step(numbers[0], .snapshotAvailable(cluster.snapshotPoint(numbers[0])))
        case "install": cluster.installSnapshot(numbers[0])
        case "advance": cluster.advance(milliseconds: Int64(numbers[0]))
        case "show": return cluster.nodes.filter { $0.id != NodeID(9) || $0.raft.currentTerm > .zero }.map(describe)
        case "log": return [describeLog(cluster[numbers[0]])]
        default: throw Unknown(line: line)
        }
        return []
    }

    private func describe(_ node: TestNode) -> String {
        guard node.isUp else { return "\(node.id) down" }
        let status = node.raft.status
        let leader = status.leader.map { " of \($0)" } ?? ""
        return "\(node.id) \(status.role.rawValue)\(status.role == .leader ? "" : leader) term \(status.term)"
            + " commit \(status.commitIndex) last \(node.raft.lastIndex) applied \(node.applied.count)"
    }

    private func describeLog(_ node: TestNode) -> String {
        let terms = node.log.entries.enumerated().map { offset, entry in
            "\(node.log.base.index + (offset + 1)):\(entry.term)"
        }
        return "after \(node.log.base): " + terms.joined(separator: " ")
    }
}
