import Basics
import MetadataModel
import NIOCore
import RegistryMachine
import RegistryModel
import Testing

@testable import Load

@Suite("A registry that a run fills")
struct RegistryTests {
    /// Rows in memory.
    private final class Rows: RegistryRows {
        private(set) var rows: [[UInt8]: [UInt8]] = [:]

        func row(at key: [UInt8]) -> [UInt8]? { rows[key] }

        func scan(_ prefix: [UInt8], _ body: ([UInt8], [UInt8]) throws -> Bool) throws {
            let found = rows.filter { $0.key.starts(with: prefix) }.sorted { $0.key.lexicographicallyPrecedes($1.key) }
            for (key, value) in found { guard try body(key, value) else { return } }
        }

        func set(_ key: [UInt8], to value: [UInt8]?) { rows[key] = value }

        func records() throws -> [RegistryRecord] {
            try rows.compactMap { key, value in try RegistryRecordKey(key).flatMap { try RegistryRecord($0, value) } }
        }
    }

    private let shape = RegistryShape(agents: 7, frameworks: 3, volumes: 45, roles: 11)

    private func load(_ commands: RegistryLoad.Commands, fence: UInt64 = 1) -> RegistryLoad {
        RegistryLoad(shape: shape, fence: fence, commands: commands)
    }

    /// As the masters' commands come out of the log.
    @discardableResult
    private func carryOut(
        _ commands: RegistryLoad.Commands, on rows: Rows, fence: UInt64 = 1
    ) throws -> [RegistryReply] {
        let load = load(commands, fence: fence)
        return try (0..<(load.count ?? shape.agents)).map { number in
            let command = try RegistryCommand(load.command(number, chance: UInt64(number) + 100).encoded())
            var registrar = Registrar(rows: rows, now: 1_000, fence: fence)
            return try registrar.carryOut(command)
        }
    }

    private func filled() throws -> Rows {
        let rows = Rows()
        for commands: RegistryLoad.Commands in [.recovery, .frameworks, .agents, .volumes, .reports] {
            for reply in try carryOut(commands, on: rows) { #expect(reply.failure == nil) }
        }
        return rows
    }

    @Test("No rule refuses any of it, and as much is there as was asked for")
    func filling() throws {
        let rows = try filled()
        #expect(try RegistryAudit.findings(in: rows, fence: 1).isEmpty)
        var (agents, frameworks, volumes, openOperations) = (0, 0, 0, 0)
        for record in try rows.records() {
            switch record {
            case .agent(let id, let row):
                agents += 1
                #expect(RegistryShape.agentNames.number(of: id.bytes) != nil)
                // Admission, the reservations, the volumes.
                #expect(row.generation == 3)
            case .framework(_, let row):
                frameworks += 1
                #expect(row.state == .active)
            case .entry(_, let entry): volumes += entry.resource.isVolume ? 1 : 0
            case .operation(_, _, let row): openOperations += row.isOpen ? 1 : 0
            default: continue
            }
        }
        #expect(agents == 7)
        #expect(frameworks == 3)
        #expect(volumes == 45)
        #expect(openOperations == 0)
    }

    @Test("Filled again, it stays as it is; only admissions are refused, for that they are there")
    func again() throws {
        let rows = try filled()
        let before = rows.rows
        for commands: RegistryLoad.Commands in [.recovery, .frameworks, .volumes, .reports] {
            try carryOut(commands, on: rows)
            #expect(rows.rows == before, "\(commands)")
        }
        let refusal = #expect(throws: RegistryRefusal.self) { try carryOut(.agents, on: rows) }
        #expect(refusal?.rule == .agentAlreadyAdmitted)
    }

    @Test("Agents that come back with what is stored of them are up to date; with anything else that is an error")
    func attachments() throws {
        let rows = try filled()
        try carryOut(.updates, on: rows)
        var checkpoints: [Int: AgentCheckpoint] = [:]
        for case .agent(let id, let row) in try rows.records() {
            let number = try #require(RegistryShape.agentNames.number(of: id.bytes))
            checkpoints[number] = AgentCheckpoint(generation: row.generation, digest: row.digest)
        }
        var known = try (0..<shape.agents).map { try #require(checkpoints[$0]) }
        try carryOut(.recovery, on: rows, fence: 2)
        #expect(try carryOut(.attachments(known), on: rows, fence: 2).map(\.failure) == [nil])
        known[5].generation -= 1
        #expect(try carryOut(.attachments(known), on: rows, fence: 2).map(\.failure) == ["agentNotUpToDate"])
        known[5].generation += 1
        known[5].digest[0] ^= 1
        #expect(
            try carryOut(.attachments(known), on: rows, fence: 2).map(\.failure)
                == [RegistryRule.agentDigestMismatch.rawValue])
    }

    @Test("What is drawn without end changes an agent each time, and is small")
    func drawn() throws {
        let rows = try filled()
        for commands: RegistryLoad.Commands in [.updates, .reservations] {
            let load = load(commands)
            #expect(load.count == nil)
            // Small ones are the uuids of what the registry was filled with.
            for chance: UInt64 in [1 << 40, 1 << 41, .max] {
                let command = load.command(3, chance: chance)
                // With the record's and the command's header it is to stay below 1 KB.
                #expect(command.encoded().count < 800)
                var registrar = Registrar(rows: rows, now: 1_000, fence: 1)
                let reply = try registrar.carryOut(command)
                guard case .changed = reply else {
                    Issue.record("\(commands) \(chance): \(reply)")
                    continue
                }
            }
        }
        #expect(try RegistryAudit.findings(in: rows, fence: 1).isEmpty)
    }

    @Test("Volumes are spread evenly, each once", arguments: [(7, 7), (7, 45), (1, 256), (1_000, 20_000)])
    func spreading(agents: Int, volumes: Int) {
        let shape = RegistryShape(agents: agents, frameworks: 1, volumes: volumes, roles: 1)
        let shares = (0..<agents).map { shape.volumes(of: $0) }
        #expect(shares.flatMap { Array($0) } == Array(0..<volumes))
        #expect(shares.allSatisfy { $0.count >= volumes / agents && $0.count <= volumes / agents + 1 })
    }

    @Test("Commands of many are within what one may have, and miss nobody")
    func batches() throws {
        let shape = RegistryShape(agents: 1_100, frameworks: 1, volumes: 1_100, roles: 4)
        let volumes = RegistryLoad(shape: shape, fence: 1, commands: .volumes)
        var named: [[UInt8]] = []
        for number in 0..<(try #require(volumes.count)) {
            guard case .operationsApply(let requests, let isAtomic) = volumes.command(number, chance: 0) else {
                Issue.record("no operations")
                continue
            }
            #expect(isAtomic && requests.count <= RegistryCommand.objectsMax)
            named += requests.map(\.agentID)
        }
        #expect(named == (0..<1_100).flatMap { Array(repeating: shape.agentID($0), count: 2) })

        let checkpoints = Array(repeating: AgentCheckpoint(generation: 1, digest: []), count: 1_025)
        let attachments = RegistryLoad(shape: shape, fence: 1, commands: .attachments(checkpoints))
        #expect(attachments.count == 3)
        var returned: [[UInt8]] = []
        for number in 0..<3 {
            guard case .agentsReregister(let agents) = attachments.command(number, chance: 0) else {
                Issue.record("no attachments")
                continue
            }
            #expect(agents.count <= RegistryCommand.objectsMax)
            returned += agents.map(\.agent.id)
        }
        #expect(returned == (0..<1_025).map { shape.agentID($0) })
    }

    @Test("A list of commands is asked until each has succeeded; those of agents drawn at random never end")
    func queue() {
        var list = RequestQueue.commands(count: 2)
        #expect(list.next() == .registry(0))
        #expect(list.next() == .registry(1))
        #expect(list.next() == nil)
        list.finished(.registry(0), isSuccess: false)
        list.finished(.registry(1), isSuccess: true)
        // Of another stage of the run.
        list.finished(.put(0), isSuccess: true)
        #expect(!list.isDone)
        #expect(list.next() == .registry(0))
        list.finished(.registry(0), isSuccess: true)
        #expect(list.isDone)
        var drawn = RequestQueue.commands(agents: 5, seed: 1)
        for _ in 0..<100 {
            guard case .registry(let agent)? = drawn.next() else {
                Issue.record("no command")
                continue
            }
            #expect((0..<5).contains(agent))
        }
        #expect(drawn.hasNext && !drawn.isDone)
    }

    @Test("What the log takes of a mutation is its body and a record's header, of those that are measured")
    func logSize() {
        var tally = LoadTally()
        tally.sent(bodySize: 9_000, due: .uptimeNanoseconds(1))
        tally.begin(at: .uptimeNanoseconds(5))
        #expect(tally.report("write").logSizeMean == nil)
        tally.sent(bodySize: 100, due: .uptimeNanoseconds(5))
        tally.sent(bodySize: 300, due: .uptimeNanoseconds(6))
        tally.end(at: .uptimeNanoseconds(10))
        tally.sent(bodySize: 9_000, due: .uptimeNanoseconds(10))
        #expect(tally.report("write").logSizeMean == 248)
    }
}
