internal import Basics
internal import FuzzSupport
internal import LogFormat
internal import MetadataMachine
internal import MetadataModel
internal import RegistryModel
internal import StateEngine

/// A log of commands, of three sessions, and questions in between, put together from the bytes of an input: what a header
/// says is chosen, what follows it is foreign. Every command that a node would log must be applied; and the same log, in
/// one group, on another node, must lead to the same state.
let program = Decoder("program", seeds: { Program.seeds }) { bytes in
    var program = Program()
    return program.run(bytes)
}

/// A query, on a state that holds something of everything.
let query = Decoder("query", seeds: { Samples.queries.map { $0.query.encoded() } }) { bytes in
    guard let rig = FuzzMachine.filled else { fail("the state to be asked cannot be made") }
    return rig.ask(bytes)
}

struct Program {
    private var sequences: [UInt64] = [1, 1, 1]
    private let rig = FuzzMachine()

    mutating func run(_ bytes: [UInt8]) -> Bool {
        var choices = Choices(bytes)
        var isApplied = false
        for _ in 0..<32 where !choices.isAtEnd {
            let form = choices.below(8)
            if form == 7 {
                _ = rig.ask(choices.bytes())
                continue
            }
            let payload = form == 6 ? choices.bytes() : command(&choices)
            rig.pass(milliseconds: UInt64(choices.byte()) * 40)
            let isClients = (try? Command.validate(payload.rawSpan)) != nil
            // What a node does not log may still stand in a forged log: then apply may refuse it, and the node stops.
            guard rig.apply(payload) else {
                check(!isClients, "a command that a node logs stops the state machine")
                return isApplied
            }
            isApplied = true
        }
        rig.finish()
        return isApplied
    }

    /// The header says whose it is and which one; flags: 1 opens the session, 2 one-shot, 4 guards, 8 a retry, 16 a gap.
    private mutating func command(_ choices: inout Choices) -> [UInt8] {
        let kind = CommandKind.allCases[choices.below(CommandKind.allCases.count)]
        let client = choices.below(3)
        let flags = choices.byte()
        let body = choices.bytes()
        guard !kind.isHousekeeping else {
            return written { writer in
                CommandHeader.housekeeping(kind).encode(into: &writer)
                writer.write(body)
            }
        }
        let isOneShot = flags & 2 != 0
        var sequence = sequences[client]
        if flags & 8 != 0 { sequence = max(1, sequence - 1) } else if !isOneShot { sequences[client] += 1 }
        if flags & 16 != 0 { sequence += 2 }
        let opening = SessionOpening(openedAt: rig.time, timeout: .seconds(2))
        let session = isOneShot ? SessionID(9, UInt64(rig.count) + 1) : SessionID(UInt64(client) + 1, 1)
        var guards = [Guard(kind: flags & 32 == 0 ? .election : .lock, name: [0x6D], fence: 1 + UInt64(flags >> 6))]
        if kind == .registry {
            // Of the master that leads; now and then that of another.
            let fence = flags >> 6 == 3 ? 0 : rig.mastersFence
            guards = [Guard(kind: .election, name: RegistryCommand.electionGroup, fence: max(1, fence))]
        }
        return written { writer in
            CommandHeader(
                kind: kind, session: session, sequence: isOneShot ? 1 : sequence,
                acknowledgedThrough: isOneShot || sequence < 4 ? 0 : sequence - 3,
                opening: isOneShot || flags & 1 != 0 ? opening : nil, isOneShot: isOneShot,
                guards: flags & 4 != 0 || kind == .registry ? guards : []
            ).encode(into: &writer)
            writer.write(body)
        }
    }

    /// One with each command, one with all of them, one in which three sessions want the same, and one of a registry.
    static var seeds: [[UInt8]] {
        let all = Samples.mutations.map { step($0.mutation, client: 0) }
        let crowd: [Mutation] = [
            .setHistory(prefix: [], isOn: true), .put(key: [0x61], value: [1], isOwned: true),
            .coordination(.campaign(group: [0x6D], data: [1])),
            .coordination(.acquireLock(LockRequest(name: [0x6D], mode: .shared, delay: .seconds(1)))),
            .coordination(.acquireLock(LockRequest(name: [0x6E], mode: .exclusive))),
            .coordination(.withdraw(group: [0x6D])), .endSession,
        ]
        var everything: [UInt8] = Array(all.joined())
        for sample in Samples.queries { everything += [7] + Choices.sized(sample.query.encoded()) }
        var crowded: [UInt8] = []
        for mutation in crowd {
            for client in UInt8(0)..<3 { crowded += step(mutation, client: client) }
        }
        var leaders: [UInt8] = []
        for sample in Samples.housekeeping { leaders += [6] + Choices.sized(sample.command.encoded()) + [200] }
        let campaign = Mutation.coordination(.campaign(group: RegistryCommand.electionGroup, data: []))
        var masters = step(campaign, client: 0)
        for command in RegistryStory.commands { masters += step(.registry(command), client: 0) }
        var stated = step(campaign, client: 0)
        for sample in RegistrySamples.commands { stated += step(.registry(sample.command), client: 0) }
        return all + [everything, crowded, leaders, masters, stated]
    }

    static func step(_ mutation: Mutation, client: UInt8) -> [UInt8] {
        let kind = CommandKind.allCases.firstIndex(of: mutation.kind) ?? 0
        let body = written { mutation.encodeBody(into: &$0) }
        return [0, UInt8(kind), client, 1] + Choices.sized(body) + [1]
    }
}
