package import Basics
package import Wire

/// Every alarm that a node can raise. The names are for scripts and for ever.
package enum AlarmName: String, Hashable, Sendable, CaseIterable {
    // MARK: These end with their cause

    /// Told by the leader: it does not hear a member.
    case unreachable
    case diskLow
    case diskFull
    /// Told by the leader: too few voters have space.
    case writesRefused
    case rebuilding
    case certificateExpiring

    // MARK: These stand until a person clears them, also across restarts

    case damage
    case diverged
    case regressed
    case statesDiffer
    case conflictBelowCommit

    /// What a person is to do about it.
    package var remedy: String {
        switch self {
        case .unreachable: "start it, mend the network to it, or put another node in its place: `quorate member replace`"
        case .diskLow, .diskFull: "free space on the disk of its data directory, or enlarge it; no restart is needed"
        case .writesRefused: "free space on the disks of those members; deletes and reads go on"
        case .rebuilding: "wait; a leader must be there to take the state from"
        case .certificateExpiring: "put a new certificate in the place of the old one; no restart is needed"
        case .damage: "look at the disk, and replace it if this happens again"
        case .diverged: "keep the logs of all nodes and report it: this is a fault of the program or of its memory"
        case .regressed: "find out who put an old copy of the data directory back, or whether the disk loses writes"
        case .statesDiffer: "keep the logs of all nodes and report it; save a snapshot of each and compare them"
        case .conflictBelowCommit: "keep the logs of all nodes and report it; look for a copied data directory"
        }
    }
}

/// An alarm that a person has to clear, as it is kept on disk.
package struct LatchedAlarm: Hashable, Sendable {
    package var name: String
    package var since: ClusterTime
    package var detail: String

    package init(name: String, since: ClusterTime, detail: String) {
        self.name = name
        self.since = since
        self.detail = detail
    }
}

/// The alarms of one node: conditions that hold, and what has happened and nobody has cleared yet.
package struct AlarmBook: Sendable {
    /// Something that holds now and ends by itself.
    package struct Condition: Hashable, Sendable {
        package var name: AlarmName
        /// The member that it is about; nil: this one.
        package var node: String?
        package var detail: String

        package init(_ name: AlarmName, node: String? = nil, detail: String) {
            self.name = name
            self.node = node
            self.detail = detail
        }
    }

    package enum Clearing: Hashable, Sendable {
        case cleared(Int)
        /// Refused, with what to say: its cause goes on, or it does not stand here.
        case holds(String)
        case notRaised(String)
    }

    /// Of one name; a disk that fails for good must not fill the book.
    package static let latchedMax = 16

    package let node: String
    package private(set) var latched: [LatchedAlarm]
    private var conditions: [(condition: Condition, since: ClusterTime)] = []

    package init(node: String, latched: [LatchedAlarm] = []) {
        self.node = node
        self.latched = latched
    }

    /// Notes what a person must see. The same damage found again, or more news of a divergence, is no second alarm.
    /// - Returns: false when nothing is new.
    @discardableResult
    package mutating func raise(_ name: AlarmName, _ detail: String, at time: ClusterTime) -> Bool {
        let ofName = latched.filter { $0.name == name.rawValue }
        if ofName.contains(where: { $0.detail == detail }) { return false }
        if name != .damage, let place = latched.firstIndex(where: { $0.name == name.rawValue }) {
            latched[place].detail = detail
            return true
        }
        guard ofName.count < Self.latchedMax else { return false }
        latched.append(LatchedAlarm(name: name.rawValue, since: time, detail: detail))
        return true
    }

    /// Replaces the conditions; one that held before keeps the time since when.
    package mutating func update(_ found: [Condition], at time: ClusterTime) {
        conditions = found.map { condition in
            let before = conditions.first { $0.condition.name == condition.name && $0.condition.node == condition.node }
            return (condition, before?.since ?? time)
        }
    }

    /// - Parameter active: latched alarms whose cause goes on.
    package mutating func clear(_ name: String, active: Set<AlarmName>) -> Clearing {
        if let (condition, _) = conditions.first(where: { $0.condition.name.rawValue == name }) {
            return .holds("\(name) holds (\(condition.detail)) and ends with its cause: \(condition.name.remedy)")
        }
        let count = latched.count { $0.name == name }
        guard count > 0 else { return .notRaised("no alarm \(name) stands at \(node): \(raisedText)") }
        if let known = AlarmName(rawValue: name), active.contains(known) {
            return .holds("\(name) at \(node) goes on: clear it when `quorate alarm list` shows it as over")
        }
        latched.removeAll { $0.name == name }
        return .cleared(count)
    }

    private var raisedText: String {
        var names: [String] = []
        for name in conditions.map(\.condition.name.rawValue) + latched.map(\.name) where !names.contains(name) {
            names.append(name)
        }
        return names.isEmpty ? "none stands there" : "there are \(names.joined(separator: ", "))"
    }

    /// As a status lists them: conditions first, then what has happened, each in the order in which it was found.
    package func alarms(active: Set<AlarmName>) -> [Alarm] {
        conditions.map { condition, since in
            Alarm(
                name: condition.name.rawValue, node: condition.node ?? node, since: since, isActive: true,
                detail: condition.detail, remedy: condition.name.remedy)
        }
            + latched.map { alarm in
                let name = AlarmName(rawValue: alarm.name)
                let isActive = name.map(active.contains) ?? false
                // One that a later release has kept here.
                let remedy = name?.remedy ?? "this release does not know it: look at the log"
                return Alarm(
                    name: alarm.name, node: node, since: alarm.since, isActive: isActive, detail: alarm.detail,
                    remedy: remedy)
            }
    }
}
