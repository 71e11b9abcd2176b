internal import Basics
internal import FuzzSupport
internal import MetadataMachine
internal import MetadataModel
internal import RegistryModel

/// Key and value of a row, of any table.
let row = Decoder("row", seeds: { HostileState.rows.map { Choices.sized($0.key) + $0.value } }) { bytes in
    var choices = Choices(bytes)
    let key = choices.bytes()
    let value = choices.remaining()
    return (try? StoredRow(key: key.rawSpan, value: value.rawSpan)) != nil
}

/// Rows that have a form of their own: what is read is written as it was.
let rows = [
    Decoder("candidate", seeds: { [written { Samples.candidate.encodeRow(into: &$0) }] }) {
        roundTrip($0) { try Candidate(ticket: LogIndex(7), decodingRow: &$0) } write: { $0.encodeRow(into: &$1) }
    },
    Decoder("lock ticket", seeds: { [written { Samples.lockTicket.encodeRow(into: &$0) }] }) {
        roundTrip($0) { try LockTicket(ticket: LogIndex(7), decodingRow: &$0) } write: { $0.encodeRow(into: &$1) }
    },
    Decoder("state entry", seeds: { [written { Samples.stateEntry.encodeRow(into: &$0) }] }) {
        roundTrip($0) { try StateEntry(decodingRow: &$0) } write: { $0.encodeRow(into: &$1) }
    },
    Decoder("member info", seeds: { [written { HostileState.info.encode(into: &$0) }] }) {
        roundTrip($0) { try MemberInfo(decoding: &$0) } write: { $0.encode(into: &$1) }
    },
    Decoder(
        "stored membership", seeds: { [StoredMembership(index: LogIndex(5), membership: Samples.membership).encoded()] }
    ) {
        roundTrip($0) {
            try StoredMembership(decoding: $0.readRemaining())
        } write: {
            $1.write($0.encoded())
        }
    },
    // As a client reads it, in a view or as a change.
    Decoder("registry row", seeds: { RegistrySamples.rows.map { Choices.sized($0.key) + $0.value } }) { bytes in
        var choices = Choices(bytes)
        guard let key = RegistryRecordKey(choices.bytes()) else { return false }
        return (try? RegistryRecord(key, choices.remaining())) != nil
    },
]
