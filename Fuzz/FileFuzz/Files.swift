internal import Basics
internal import FuzzSupport
internal import LogStore
internal import MetadataModel
internal import ReplicaCore
internal import ReplicaStorage

let identity = Decoder(
    "identity",
    seeds: {
        let record = Samples.founding.encoded()
        let cluster = ClusterIdentity(id: 1, generation: 2, generationTag: 3)
        return [
            NodeIdentity(cluster: nil, name: "n1", incarnation: NodeID(7)).encoded(),
            NodeIdentity(cluster: cluster, name: "n1", incarnation: NodeID(7), foundingRecord: record).encoded(),
        ]
    }, repair: { repaired($0, coversHead: true) }
) { bytes in
    guard let identity = try? NodeIdentity(decoding: bytes.rawSpan) else { return false }
    let again = try? NodeIdentity(decoding: identity.encoded().rawSpan)
    check(again == identity, "\(identity)")
    return true
}

let peers = Decoder(
    "peers", seeds: { [PeerMemory().encoded(), PeerMemory([NodeID(1): LogIndex(5), NodeID(2): LogIndex(9)]).encoded()] },
    repair: { repaired($0, coversHead: false) }
) { bytes in
    guard let memory = try? PeerMemory(decoding: bytes.rawSpan) else { return false }
    let again = try? PeerMemory(decoding: memory.encoded().rawSpan)
    check(again == memory, "\(memory)")
    return true
}

let alarms = Decoder(
    "alarms",
    seeds: {
        let alarm = LatchedAlarm(name: "damage", since: ClusterTime(nanoseconds: 0x1122), detail: "log: file 3")
        return [AlarmMemory.encode([]), AlarmMemory.encode([alarm, alarm])]
    }, repair: { repaired($0, coversHead: false) }
) { bytes in
    guard let alarms = try? AlarmMemory.decode(bytes.rawSpan) else { return false }
    let again = try? AlarmMemory.decode(AlarmMemory.encode(alarms).rawSpan)
    check(again == alarms, "\(alarms)")
    return true
}

/// The checksum stands at 12 and covers what follows it, or also what stands before.
private func repaired(_ input: [UInt8], coversHead: Bool) -> [UInt8] {
    guard input.count >= 16 else { return input }
    let bytes = input.rawSpan
    let head = coversHead ? CRC32C.checksum(of: bytes.extracting(0..<12)) : 0
    let checksum = CRC32C.checksum(of: bytes.extracting(16..<input.count), continuing: head)
    var repaired = input
    repaired.store(checksum, at: 12)
    return repaired
}
