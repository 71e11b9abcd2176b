internal import Basics
internal import FuzzSupport
internal import MetadataModel

/// A command as a client sends it: checked as a node does before it logs it, and then read as apply reads it.
let command = Decoder(
    "command",
    seeds: {
        Samples.mutations.map { Samples.command($0.mutation, opens: true, guards: Samples.guards) }
            + RegistrySamples.commands.map { Samples.command(.registry($0.command), guards: RegistrySamples.guards) }
    }
) { bytes in
    guard (try? Command.validate(bytes.rawSpan)) != nil else { return false }
    check(isRead(bytes), "a command that was found well-formed cannot be read")
    return true
}

private func isRead(_ bytes: [UInt8]) -> Bool {
    var kind: CommandKind?
    let headerAgain = roundTrip(bytes) {
        let header = try CommandHeader(decoding: &$0)
        kind = header.kind
        return header
    } write: {
        $0.encode(into: &$1)
    }
    guard headerAgain, let kind else { return false }
    return accepts(bytes) { reader in
        _ = try CommandHeader(decoding: &reader)
        let body = [UInt8](reader.readRemaining())
        switch kind {
        case .put: _ = accepts(body) { _ = try PutBody(decoding: &$0).key.byteCount }
        case .transaction:
            check(roundTrip(body) { try Transaction(decoding: &$0) } write: { $0.encode(into: &$1) })
        case .setHistory: check(accepts(body) { _ = try SetHistoryBody(decoding: &$0) })
        case .registry: check(isRegistryCommand(body))
        case .deleteRange: check(accepts(body) { _ = try DeleteRangeBody(decoding: &$0) })
        case .campaign, .withdraw, .setCandidateData, .acquireLock, .releaseLock, .stateSet, .stateExpunge:
            let isSame = roundTrip(body) {
                try CoordinationCommand(kind: kind, decoding: &$0)
            } write: {
                $0?.encode(into: &$1)
            }
            check(isSame, "\(kind)")
        default: break
        }
    }
}

/// A command of the leader's own, as a follower finds it in the log.
let housekeeping = Decoder("housekeeping", seeds: { Samples.housekeeping.map { $0.command.encoded() } }) { bytes in
    roundTrip(bytes) { reader -> Housekeeping? in
        let header = try CommandHeader(decoding: &reader)
        return try Housekeeping(kind: header.kind, decoding: &reader)
    } write: { command, writer in
        // A client's command is none of these; what stands for it reads as such again.
        writer.write(command?.encoded() ?? Samples.command(.endSession))
    }
}
