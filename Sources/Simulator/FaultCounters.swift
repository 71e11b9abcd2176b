/// Every kind of fault that this simulator can inject. A kind that is never hit over many seeds is a hole.
package enum FaultKind: String, CaseIterable, Sendable {
    case crashIdle = "crash.idle"
    case crashInPersist = "crash.beforePersist"
    case crashAfterPersist = "crash.afterPersist"
    case crashAfterSend = "crash.afterSend"
    case crashBeforeApply = "crash.beforeApply"
    case crashAfterApply = "crash.afterApply"
    case crashInFlush = "crash.flush"
    case crashInSnapshotBuild = "crash.snapshotBuild"
    case crashInSnapshotReceive = "crash.snapshotReceive"
    case crashInSnapshotInstall = "crash.snapshotInstall"
    case crashInLogTrim = "crash.logTrim"
    case crashInSegmentRoll = "crash.segmentRoll"
    case crashInStart = "crash.start"
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
    case fullDisk = "disk.full"
    case bitFlipInLog = "bitflip.log"
    case bitFlipOnWire = "bitflip.wire"
    case drop
    case delay
    case clog
    case swizzle
    case partitionSymmetric = "partition.symmetric"
    case partitionOneWay = "partition.oneWay"
    case partitionNonTransitive = "partition.nonTransitive"
    case partitionBridge = "partition.bridge"
    case partitionRing = "partition.ring"
    case outsideMajority = "majority.outsideBroken"
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

    /// Something is done to the cluster. All others count what came of that, or what clients and operators did.
    package var isFault: Bool {
        switch self {
        // Each crash is counted by where it met the log; this is where else it struck, and what was lost.
        case .crashBeforeApply, .crashInFlush, .crashAllNodes, .powerLoss, .tornWrite,
            .unsyncedDropped, .directoryEntryLost, .changeMeetsCrash:
            false
        // What full disks, cut and stalled ways come to; and a network that loses much would drown all else.
        case .noSpace, .halfOpen, .slowReader, .drop: false
        case .add, .promote, .remove, .replace, .update, .snapshotInstalled: false
        case .duplicate, .moveNode, .unknownOutcome, .abandonSession, .watchCompacted: false
        default: true
        }
    }
}

package struct FaultCounters: Hashable, Sendable {
    private var counts = [Int](repeating: 0, count: FaultKind.allCases.count)

    package init() {}

    private static let places = Dictionary(
        uniqueKeysWithValues: zip(FaultKind.allCases, FaultKind.allCases.indices))

    private static func place(_ kind: FaultKind) -> Int { places[kind] ?? 0 }

    package subscript(kind: FaultKind) -> Int { counts[Self.place(kind)] }

    package mutating func add(_ kind: FaultKind, _ count: Int = 1) { counts[Self.place(kind)] += count }

    package mutating func add(_ other: FaultCounters) {
        for place in counts.indices { counts[place] += other.counts[place] }
    }

    /// Faults in all, without what came of them.
    package var total: Int { FaultKind.allCases.reduce(0) { $0 + ($1.isFault ? self[$1] : 0) } }
}
