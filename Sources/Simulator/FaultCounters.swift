/// Every kind of fault that this simulator can inject. A kind that is never hit over many seeds is a hole.
package enum FaultKind: String, CaseIterable, Sendable {
    case crashIdle = "crash.idle"
    case crashInPersist = "crash.beforePersist"
    case crashAfterPersist = "crash.afterPersist"
    case crashBeforeApply = "crash.beforeApply"
    case crashInFlush = "crash.flush"
    case crashInSnapshot = "crash.snapshot"
    case crashAllNodes = "crash.allNodes"
    case powerLoss
    case pause
    case tornWrite = "write.torn"
    case writeError = "write.error"
    case noSpace = "write.noSpace"
    case syncError = "sync.error"
    case unsyncedDropped = "unsynced.dropped"
    case directoryEntryLost = "dirEntry.lost"
    case slowDisk = "slow"
    case stuckDisk = "stuck"
    case bitFlipInLog = "bitflip.log"
    case bitFlipOnWire = "bitflip.wire"
    case clog
    case delay
    case overtaken = "leader.overtaken"
    case partitionSymmetric = "partition.symmetric"
    case partitionOneWay = "partition.oneWay"
    case partitionNonTransitive = "partition.nonTransitive"
    case reset
    case halfOpen
    case slowReader
    case wallJump = "clock.wallJump"
    case clockDrift = "clock.drift"
    case transfer = "membership.transfer"
    case add = "membership.add"
    case promote = "membership.promote"
    case remove = "membership.remove"
    case replace = "membership.replace"
    case update = "membership.update"
    case changeMeetsCrash = "membership.leaderKilled"
    case lostDirectory = "membership.directoryLost"
    case snapshotInstalled = "snapshot.installed"
    case duplicate = "client.duplicate"
    case moveNode = "client.moveNode"
    case unknownOutcome = "client.unknown"
    case abandonSession = "client.abandonSession"
    case watchCompacted = "watch.compacted"
    case retry = "client.retry"
    case clientCutOff = "client.cutOff"
    case oldPeer = "version.oldPeer"
    case unknownEntry = "version.unknownEntry"
    case limitOnConnections = "limits.connections"
    case limitOnRequests = "limits.pending"
    case snapshotTaken = "snapshot.taken"
    case damagedSnapshotFile = "snapshot.fileDamaged"
    case restored = "snapshot.restored"
    case generationChanged = "client.generationChanged"
}

package struct FaultCounters: Hashable, Sendable {
    private var counts = [Int](repeating: 0, count: FaultKind.allCases.count)

    package init() {}

    private static func place(_ kind: FaultKind) -> Int {
        FaultKind.allCases.firstIndex(of: kind) ?? 0
    }

    package subscript(kind: FaultKind) -> Int { counts[Self.place(kind)] }

    package mutating func add(_ kind: FaultKind, _ count: Int = 1) { counts[Self.place(kind)] += count }

    package mutating func add(_ other: FaultCounters) {
        for place in counts.indices { counts[place] += other.counts[place] }
    }

    /// What happened in all.
    package var total: Int { counts.reduce(0, +) }
}
