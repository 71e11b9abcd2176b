internal import Basics
internal import Disk
internal import LogStore
internal import Logging
internal import MetadataModel
internal import ReplicaCore
internal import ReplicaStorage
internal import Wire

/// The alarms of a node until it has a replica, which keeps them then: those of its directory, and what is found to be
/// damaged while it starts. Used on the event loop.
struct EarlyAlarms {
    private var book: AlarmBook
    private let directory: String
    private let fileSystem: any FileSystem
    private let logger: Logger
    /// What the file holds; nil when that cannot be read, or its last replacement failed.
    private(set) var stored: [LatchedAlarm]?

    init(node: String, directory: String, fileSystem: any FileSystem, logger: Logger) {
        self.directory = directory
        self.fileSystem = fileSystem
        self.logger = logger
        do throws(IdentityError) {
            let found = try AlarmMemory.load(from: directory, on: fileSystem)
            stored = found
            book = AlarmBook(node: node, latched: found)
        } catch {
            logger.error("the alarms that stood at this node are lost: \(error)")
            book = AlarmBook(node: node)
            book.raise(.damage, "alarms: \(error)", at: wallClock())
        }
    }

    var latched: [LatchedAlarm] { book.latched }

    /// Damage was found before, and nobody has seen to it.
    var tellOfDamage: Bool { latched.contains { $0.name == AlarmName.damage.rawValue } }

    /// Durable when it returns, if the disk has room for it: a node that cannot note its damage is no better off down.
    mutating func raiseDamage(_ damages: [String]) {
        for damage in damages { book.raise(.damage, damage, at: wallClock()) }
        guard latched != stored else { return }
        do throws(DiskError) {
            try store()
        } catch {
            logger.error("the alarms that stand at this node cannot be kept: \(error)")
        }
    }

    private mutating func store() throws(DiskError) {
        stored = nil
        try AlarmMemory.store(latched, in: directory, on: fileSystem)
        stored = latched
    }

    func alarms(isRepairing: Bool) -> [Alarm] { book.alarms(active: Self.active(isRepairing)) }

    mutating func clear(_ name: String, isRepairing: Bool) -> ControlReply {
        switch book.clear(name, active: Self.active(isRepairing)) {
        case .cleared(let count):
            do throws(DiskError) {
                try store()
            } catch {
                // Gone until the next start, which finds it again.
                return .failed(ReplyError(.alarmHolds, "it cannot be noted that this was cleared: \(error)"), .clearAlarm)
            }
            return .alarmCleared(AlarmClearedReply(revision: .zero, count: UInt16(clamping: count)))
        case .holds(let message): return .failed(ReplyError(.alarmHolds, message), .clearAlarm)
        case .notRaised(let message): return .failed(ReplyError(.noSuchAlarm, message), .clearAlarm)
        }
    }

    private static func active(_ isRepairing: Bool) -> Set<AlarmName> { isRepairing ? [.damage] : [] }
}
