/// Bugs that are planted on purpose, to see whether the simulator finds them (`ops/mutants`). A simulator that finds none
/// of a kind would not find a real one either.
///
/// Each stands in the code where somebody might make that mistake, as a question whether it `isOn`. Only a build with
/// `MUTANTS=1` can answer yes; in every other the question is the constant `false`, and nothing of the bug is compiled.
#if MUTANTS
    package enum Mutant: String, CaseIterable, Sendable {
        // Elections and the log (Raft §5).
        case countOldTermReplicas
        case dropNoOp
        case forgetVote
        case voteForStaleLog
        case voteBeforeSync
        case acknowledgeBeforeSync
        case countUnsyncedLeader
        case truncateMatchingTail
        case commitPastDisk
        case commitByHeartbeat
        // Members (Raft §6).
        case changeMembersEarly
        case forgetOldMajority
        case countLearners
        // Reads (thesis §6.4).
        case readFromOldRound
        case readWithoutRound
        case readBeforeNoOp
        case ignoreReadRevision
        // Log and state on disk.
        case skipSync
        case skipDirectorySync
        case cutDamagedMiddle
        case applyBehindState
        case compactPastFlush
        case forgetOutcomesEarly
        case campaignWhileDamaged
        case voteWhileDamaged
        case voteAfterLostHardState
        // The state machine.
        case applyRetryAgain
        case windowForgetsEarly
        case snapshotForgetsSessions
        case applyDependsOnNode
        case ignoreCondition
        case answerLostAsRefused
        // Coordination.
        case skipGuard
        case lockForTwo
        case keepOwnedRows
        case expireAtFailover
        case expireEarly
        // The masters' registry.
        case loseReservation
        case bookMountTwice
        case applyOperationAgain
        case skipMastersFence
        // Watches.
        case watchSkipsBatch
        case watchRepeatsRevision
        case watchMistakesBranch
        case watchShowsWrongBefore
        // Snapshots and restoring.
        case acceptDamagedChunk
        case restoreReusesRevisions
        // Bounds.
        case ignorePendingLimit

        /// Set once, before the simulation starts, on the one thread that there is.
        nonisolated(unsafe) package static var active: Mutant?

        package var isOn: Bool { unsafe Self.active == self }
    }
#else
    /// Every name is a question whose answer is no. The compiler answers it, so that not even the names are left: what is
    /// only `package` it would call.
    @dynamicMemberLookup
    public enum Mutant {
        public struct Absent: Sendable {
            @inlinable public init() {}
            @inlinable public var isOn: Bool { false }
        }

        @inlinable public static subscript(dynamicMember name: StaticString) -> Absent { Absent() }
    }
#endif
