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

    init(node: String, directory: String, fileSystem: any FileSystem, logger: Logger) {
        self.directory = directory
        self.fileSystem = fileSystem
        do throws(IdentityError) {
            book = AlarmBook(node: node, latched: try AlarmMemory.load(from: directory, on: fileSystem))
        } catch {
            logger.error("the alarms that stood at this node are lost: \(error)")
            book = AlarmBook(node: node)
            book.raise(.damage, "alarms: \(error)", at: wallClock())
        }
    }

    var latched: [LatchedAlarm] { book.latched }

    /// Damage was found before, and nobody has seen to it.
    var tellOfDamage: Bool { latched.contains { $0.name == AlarmName.damage.rawValue } }

    /// Durable when it returns.
    mutating func raiseDamage(_ damages: [String]) throws(DiskError) {
        let news = damages.filter { book.raise(.damage, $0, at: wallClock()) }
        guard !news.isEmpty else { return }
        try AlarmMemory.store(latched, in: directory, on: fileSystem)
    }

    func alarms(isRepairing: Bool) -> [Alarm] { book.alarms(active: Self.active(isRepairing)) }

    mutating func clear(_ name: String, isRepairing: Bool) -> ControlReply {
        switch book.clear(name, active: Self.active(isRepairing)) {
        case .cleared(let count):
            do throws(DiskError) {
                try AlarmMemory.store(latched, in: directory, on: fileSystem)
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
