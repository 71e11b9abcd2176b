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
    case bitFlipInHardState = "bitflip.hardState"
    case misdirectedWrite = "write.misdirected"
    case syncLost = "sync.lost"
    case olderDirectory = "directory.older"
    case foreignDirectory = "directory.foreign"
    /// A fault that would have destroyed too much, and was not done.
    case faultRefused = "atlas.refused"
    /// What became of them: a log that lost entries, one that had to begin without them, a node that had to ask what it
    /// had promised, damage that a read met, a node that was told of what it had forgotten.
    case logRepaired = "repair.log"
    case logCutShort = "repair.short"
    case logBegunBehindState = "repair.behindState"
    case promisesAsked = "repair.promises"
    case damageRead = "repair.read"
    case regressionTold = "repair.regressed"
    case bitFlipInEngine = "bitflip.engine"
    case bitFlipInSnapshot = "bitflip.snapshot"
    case damagedSnapshotPiece = "bitflip.snapshotPiece"
    case readError = "read.error"
    case logMended = "log.mended"
    case scrubbed = "scrub.ended"
    case bitFlipOnWire = "bitflip.wire"
    case drop
    case delay
    case clog
    case swizzle
    case overtaken = "leader.overtaken"
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
    /// A node asked for more of a manifest than had come.
    case manifestInPieces = "snapshot.manifestInPieces"
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
    /// A master has taken over from another; one was refused for an old fence; an operation that had been carried out was
    /// asked for again.
    case masterFailedOver = "registry.masterFailedOver"
    case staleMaster = "registry.staleMaster"
    case operationRepeated = "registry.operationRepeated"

    /// Something is done to the cluster. All others count what came of that, or what clients and operators did.
    package var isFault: Bool {
        switch self {
        // Each crash is counted by where it met the log; this is where else it struck, and what was lost.
        case .crashBeforeApply, .crashInFlush, .crashAllNodes, .powerLoss, .tornWrite,
            .unsyncedDropped, .directoryEntryLost, .changeMeetsCrash:
            false
        // What full disks, cut and stalled ways come to; and a network that loses much would drown all else.
        case .noSpace, .halfOpen, .slowReader, .drop: false
        case .add, .promote, .remove, .replace, .update, .snapshotInstalled, .manifestInPieces: false
        case .duplicate, .moveNode, .unknownOutcome, .abandonSession, .watchCompacted, .retry, .generationChanged: false
        case .masterFailedOver, .staleMaster, .operationRepeated: false
        case .snapshotTaken, .scrubbed: false
        case .faultRefused, .logRepaired, .logCutShort, .logBegunBehindState, .promisesAsked, .damageRead, .regressionTold,
            .logMended:
            false
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
