internal import Basics
internal import MetadataModel
internal import RaftCore
internal import Wire

/// What a person should look at at this node. Conditions are reviewed with every report to the leader; what must be
/// cleared by a person is noted when it happens, and kept on disk by the shell.
extension Replica {
    /// To be kept on disk whenever `Effects.alarmsChanged`.
    package var latchedAlarms: [LatchedAlarm] { alarms.latched }

    /// What only the shell can see: certificates, for one. Holds until it says otherwise.
    package mutating func shellSees(_ conditions: [AlarmBook.Condition]) { shellConditions = conditions }

    /// It is repaired at the next start, for which the shell stops.
    package mutating func logIsLost(_ what: String) { raise(.damage, what) }

    mutating func raise(_ name: AlarmName, _ detail: String) {
        if alarms.raise(name, detail, at: wall) { effects.alarmsChanged = true }
    }

    mutating func reviewAlarms() {
        var found: [AlarmBook.Condition] = []
        switch diskLevel {
        case .ample:
            forgetLackOfSpace()
            if let lack = snapshots.lackOfSpace { found.append(.init(.diskLow, detail: lack)) }
        case .low:
            found.append(.init(.diskLow, detail: "\(freeText) free, less than the reserve: it leads only if all others are so"))
        case .exhausted:
            found.append(.init(.diskFull, detail: "\(freeText) free, less than half of the reserve: it takes no entries"))
        }
        if raft.isLeader {
            if let spaceShortage { found.append(.init(.writesRefused, detail: spaceShortage.message)) }
            for peer in raft.peers where !peer.isActive {
                guard let member = membership.member(peer.id) else { continue }
                found.append(.init(.unreachable, node: member.name, detail: "the leader \(settings.name) does not hear it"))
            }
        }
        if isQuarantined, quarantineCause == nil {
            found.append(.init(.rebuilding, detail: "its state is missing and is taken from another member"))
        }
        alarms.update(found + shellConditions, at: wall)
    }

    /// Whoever needed a snapshot has asked again since, or needs none any more.
    private mutating func forgetLackOfSpace() {
        guard !snapshots.isBuilding, snapshots.fetch == nil else { return }
        let pauseEnd = max(snapshots.buildPause.end, snapshots.fetchPause.end)
        if now > pauseEnd + SnapshotTransfer.retryInterval * 2 { snapshots.lackOfSpace = nil }
    }

    mutating func clearAlarm(_ name: String, slot: ConnectionSlot, requestID: UInt64) {
        switch alarms.clear(name, active: activeAlarms) {
        case .cleared(let count):
            effects.alarmsChanged = true
            effects.notices.append(.alarmCleared(name))
            let reply = AlarmClearedReply(revision: appliedIndex, count: UInt16(clamping: count))
            answer(slot, requestID, .alarmCleared(reply))
        case .holds(let message): answer(slot, requestID, .clearAlarm, error: ReplyError(.alarmHolds, message))
        case .notRaised(let message): answer(slot, requestID, .clearAlarm, error: ReplyError(.noSuchAlarm, message))
        }
    }

    /// Those to be cleared by a person that are not over yet.
    var activeAlarms: Set<AlarmName> {
        var active: Set<AlarmName> = []
        if isQuarantined, let quarantineCause { active.insert(quarantineCause) }
        if servesDamagedRows || mending.isUnderWay { active.insert(.damage) }
        if regressedBelow > .zero { active.insert(.regressed) }
        return active
    }

    private var freeText: String { "\(disk.free / 1_048_576) MiB" }
}
