import Foundation
import RegistryMachine
import RegistryModel
import Testing

/// What a registry does, as simply as it can be said: amounts by a text that says what they are. Knows agents with
/// three kinds of things, reservations two levels deep, volumes, holds, and whether something is refused.
private struct Reference {
    enum State { case absent, admitted, unreachable, gone }

    struct Agent {
        var state = State.absent
        var isDeactivated = false
        /// By `name`, `name a`, `name a/b` (on top of `a`), `disk a #volume`.
        var amounts: [String: Int] = [:]
        /// By the hold's name.
        var holds: [String: [String: Int]] = [:]

        func free(_ kind: String) -> Int {
            amounts[kind, default: 0] - holds.values.reduce(0) { $0 + $1[kind, default: 0] }
        }

        /// A volume is held whole, so it is free or not.
        mutating func replace(_ consumed: [String: Int], by converted: [String: Int]) -> Bool {
            for (kind, amount) in consumed {
                guard free(kind) >= amount else { return false }
                if kind.contains("#"), amounts[kind] != amount { return false }
            }
            for (kind, amount) in consumed {
                amounts[kind, default: 0] -= amount
                if amounts[kind] == 0 { amounts[kind] = nil }
            }
            for (kind, amount) in converted { amounts[kind, default: 0] += amount }
            return true
        }
    }

    var agents: [Int: Agent] = [:]
    /// Agent and number of operations that were carried out, and what they were.
    var done: [String: [UInt8]] = [:]

    static let totals = ["cpus": 16, "mem": 64, "disk": 1_000]

    /// What a role uses up of a thing.
    func consumption(of role: String, _ name: String) -> Int {
        var sum = 0
        for agent in agents.values where agent.state == .admitted {
            for (kind, amount) in agent.amounts where kind.hasPrefix(name + " ") {
                let owner = kind.split(separator: " ")[1]
                if owner == role || owner.hasPrefix(role + "/") { sum += amount }
            }
            // Tasks are of role a/b: what they hold that is not reserved within a role counts for it.
            guard role == "a" || role == "a/b" else { continue }
            for hold in agent.holds.values {
                for (kind, amount) in hold where kind == name || kind.hasPrefix(name + " ") {
                    let owner = kind.split(separator: " ").dropFirst().first ?? ""
                    if owner != role, !owner.hasPrefix(role + "/") { sum += amount }
                }
            }
        }
        return sum
    }
}

private struct Chance {
    var state: UInt64
    mutating func next(_ count: Int) -> Int {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int((state >> 33) % UInt64(count))
    }
}

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite("Random commands, against a model that is as simple as can be")
struct ReferenceTests {
    private static let names = ["cpus", "mem", "disk"]
    private static let agentCount = 3
    private static let seeds: UInt64 = 8
    /// Of each seed. A sanitizer asks for fewer: `QUORATE_REFERENCE_COMMANDS`, of all seeds.
    private static let commandCount: Int = {
        let asked = ProcessInfo.processInfo.environment["QUORATE_REFERENCE_COMMANDS"].flatMap { Int($0) }
        return max(1, (asked ?? 1_000_000) / Int(seeds))
    }()

    private static func claim(_ kind: String, _ amount: Int) -> ResourceClaim {
        let parts = kind.split(separator: " ").map(String.init)
        var claim: ResourceClaim
        switch parts[0] {
        case "cpus": claim = Claims.cpus(Double(amount))
        case "mem": claim = Claims.mem(Double(amount))
        default: claim = Claims.path(Double(amount))
        }
        if parts.count > 1 {
            for role in parts[1] == "a/b" ? ["a", "a/b"] : [parts[1]] { claim = claim.reserved(role, principal: nil) }
        }
        return parts.count > 2 ? claim.volume(String(parts[2].dropFirst())) : claim
    }

    private static func agent(_ number: Int) -> AgentClaim {
        Agents.claim("a\(number)", resources: names.map { claim($0, Reference.totals[$0] ?? 0) })
    }

    /// One step: what is asked for, and whether the model does it.
    private struct Step {
        var command: RegistryCommand
        var isDone: Bool
    }

    private static func step(_ chance: inout Chance, _ model: inout Reference) -> Step {
        let number = chance.next(agentCount)
        let id = bytes("a\(number)")
        var agent = model.agents[number] ?? Reference.Agent()
        let before = agent
        let command: RegistryCommand
        var isDone: Bool
        switch chance.next(30) {
        case 0:
            command = .agentAdmit(self.agent(number))
            isDone = agent.state == .absent
            if isDone { agent = Reference.Agent(state: .admitted, amounts: Reference.totals) }
        case 1:
            command = .agentMarkUnreachable(id: id)
            isDone = agent.state == .admitted
            if isDone { agent.state = .unreachable }
        case 2, 3:
            command = .agentMarkReachable(self.agent(number))
            isDone = agent.state != .gone
            if agent.state == .absent { agent = Reference.Agent(state: .admitted, amounts: Reference.totals) }
            if agent.state == .unreachable { agent.state = .admitted }
        case 4:
            command = .agentDeactivate(id: id)
            isDone = agent.state == .admitted || agent.state == .unreachable
            if isDone { agent.isDeactivated = true }
        case 5, 6:
            command = .agentReactivate(id: id)
            isDone = agent.isDeactivated
            agent.isDeactivated = false
        case 7:
            guard chance.next(40) == 0 else { return step(&chance, &model) }
            let isRemoval = chance.next(2) == 0
            command = isRemoval ? .agentRemove(id: id, discardsVolumes: true) : .agentMarkGone(id: id)
            isDone = isRemoval ? agent.state == .admitted : agent.state != .absent && agent.state != .gone
            if isDone { agent = Reference.Agent(state: isRemoval ? .absent : .gone) }
        case 8:
            command = .agentsPrune(unreachable: [], gone: [id], includesVolumes: false)
            isDone = true
            if agent.state == .gone { agent = Reference.Agent() }
        case 9...11:
            let hold = "h\(chance.next(4))"
            command = Operations.release(hold, agent: "a\(number)")
            isDone = true
            agent.holds[hold] = nil
        case 12...15:
            let hold = "h\(chance.next(4))"
            let kind = Self.kind(&chance, agent)
            let amount = kind.contains("#") && chance.next(4) > 0 ? agent.amounts[kind] ?? 1 : 1 + chance.next(6)
            command = Operations.acquire(hold, role: "a/b", [Self.claim(kind, amount)], agent: "a\(number)")
            if let known = agent.holds[hold] {
                isDone = known == [kind: amount]
            } else {
                let isWhole = !kind.contains("#") || agent.amounts[kind] == amount
                isDone =
                    agent.state == .admitted && !agent.isDeactivated && isWhole && agent.free(kind) >= amount
                    && !kind.contains(" b")
                if isDone { agent.holds[hold] = [kind: amount] }
            }
        default: return operation(&chance, &model, number)
        }
        if isDone { model.agents[number] = agent } else { model.agents[number] = before }
        return Step(command: command, isDone: isDone)
    }

    private static func kind(_ chance: inout Chance, _ agent: Reference.Agent) -> String {
        let known = agent.amounts.keys.sorted()
        if !known.isEmpty, chance.next(5) > 0 { return known[chance.next(known.count)] }
        return names[chance.next(3)] + ["", " a", " a/b", " b"][chance.next(4)]
    }

    private static func operation(_ chance: inout Chance, _ model: inout Reference, _ number: Int) -> Step {
        var agent = model.agents[number] ?? Reference.Agent()
        let kind = Self.kind(&chance, agent)
        let amount = kind.contains("#") && chance.next(4) > 0 ? agent.amounts[kind] ?? 1 : 1 + chance.next(6)
        let parts = kind.split(separator: " ").map(String.init)
        let operation: OperationKind
        var consumed: [String: Int] = [:]
        var converted: [String: Int] = [:]
        var isAllowed = true
        switch chance.next(6) {
        case 0:
            // Pushes a level.
            let to = parts.count == 1 ? ["a", "b"][chance.next(2)] : "a/b"
            let target = parts[0] + " " + to
            operation = .reserve([claim(target, amount)])
            (consumed, converted) = ([to == "a/b" ? parts[0] + " a" : parts[0]: amount], [target: amount])
        case 1:
            operation = .unreserve([claim(kind, amount)])
            isAllowed = parts.count == 2
            consumed = [kind: amount]
            if parts.count == 2 { converted = [parts[1] == "a/b" ? parts[0] + " a" : parts[0]: amount] }
        case 2:
            let volume = "#v\(chance.next(3))"
            let target = parts.count > 1 ? "\(parts[0]) \(parts[1]) \(volume)" : kind
            operation = .create([claim(target, amount)])
            isAllowed = parts[0] == "disk" && parts.count > 1 && agent.amounts[target] == nil
            if parts.count > 1 { (consumed, converted) = (["\(parts[0]) \(parts[1])": amount], [target: amount]) }
        case 3:
            operation = .destroy([claim(kind, amount)])
            isAllowed = parts.count == 3
            if parts.count == 3 { (consumed, converted) = ([kind: amount], ["\(parts[0]) \(parts[1])": amount]) }
        case 4:
            let plain = parts.prefix(2).joined(separator: " ")
            let size = agent.amounts[kind] ?? amount
            operation = .growVolume(claim(kind, size), addition: claim(plain, amount))
            isAllowed = parts.count == 3
            if isAllowed { (consumed, converted) = ([kind: size, plain: amount], [kind: size + amount]) }
        default:
            let plain = parts.prefix(2).joined(separator: " ")
            let size = agent.amounts[kind] ?? amount
            operation = .shrinkVolume(claim(kind, size), subtract: Double(amount))
            isAllowed = parts.count == 3 && amount < size
            if isAllowed { (consumed, converted) = ([kind: size], [kind: size - amount, plain: amount]) }
        }
        let uuid = UInt8(chance.next(200))
        let place = "\(number) \(uuid)"
        // Now and then the same again, or another operation under a uuid that was used.
        let command = Operations.apply(uuid, operation, agent: "a\(number)")
        let isDone: Bool
        if let known = model.done[place] {
            isDone = known == operation.encoded()
        } else {
            isDone = isAllowed && agent.state == .admitted && agent.replace(consumed, by: converted)
            if isDone {
                model.done[place] = operation.encoded()
                model.agents[number] = agent
            }
        }
        return Step(command: command, isDone: isDone)
    }

    @Test(
        "both do the same, or refuse it, and have the same entries and the same consumption", arguments: 1...seeds)
    func random(seed: UInt64) throws {
        var master = Master(audits: false)
        try master.call(
            Frameworks.subscribe(
                Frameworks.info(roles: ["a/b"], principal: nil, capabilities: [.multiRole, .sharedResources])))
        try master.call(.agentsApproveRemoval(count: 1 << 60, until: .max))
        var (chance, model) = (Chance(state: seed), Reference())
        var doneCount = 0
        for count in 1...Self.commandCount {
            // Operations that have ended are forgotten after a day, so that their uuids can be used again.
            if count % 2_000 == 0 {
                for place in model.done.keys.sorted() {
                    let parts = place.split(separator: " ").compactMap { UInt8($0) }
                    _ = try master.rule(unaudited: Operations.status(parts[1], .finished, agent: "a\(parts[0])"))
                }
                master.time += 25 * 3_600
                for _ in 0..<4 { try master.carryOutTimers() }
                model.done = model.done.filter { place, _ in
                    let parts = place.split(separator: " ").compactMap { UInt8($0) }
                    return (try? master.operation(parts[1], of: "a\(parts[0])")) != .some(nil)
                }
            }
            let step = Self.step(&chance, &model)
            let refusal = try master.rule(unaudited: step.command)
            guard (refusal == nil) == step.isDone else {
                Issue.record("step \(count): \(step.command) ends with \(refusal?.description ?? "no refusal")")
                return
            }
            if step.isDone { doneCount += 1 }
            if count % 500 == 0 { guard try compare(master, model, count) else { return } }
            if count % 20_000 == 0 { #expect(try RegistryAudit.findings(in: master.rows, fence: master.fence) == []) }
        }
        #expect(doneCount > Self.commandCount / 4)
    }

    private func compare(_ master: Master, _ model: Reference, _ count: Int) throws -> Bool {
        for number in 0..<Self.agentCount {
            let agent = model.agents[number] ?? Reference.Agent()
            let expected = try agent.amounts.map { try Self.claim($0, $1).checked().description }.sorted()
            let found = try master.entries(of: "a\(number)")
            guard found == expected else {
                Issue.record("step \(count), a\(number): \(found), not \(expected)")
                return false
            }
        }
        for role in ["a", "a/b", "b"] {
            for name in Self.names {
                let key = RegistryKey(.consumption).adding(sized: bytes(role)).adding(bytes(name)).bytes
                let found = try master.rows.row(at: key).map { try Scalar($0).double } ?? 0
                guard found == Double(model.consumption(of: role, name)) else {
                    Issue.record(
                        "step \(count): role \(role) uses \(found) \(name), not \(model.consumption(of: role, name))")
                    return false
                }
            }
        }
        return true
    }
}

extension Master {
    /// As `rule`, without looking at every row before and after.
    fileprivate func rule(unaudited command: RegistryCommand) throws -> RegistryRefusal? {
        var registrar = registrar
        do {
            _ = try registrar.carryOut(command)
            return nil
        } catch let refusal as RegistryRefusal {
            return refusal
        }
    }
}
