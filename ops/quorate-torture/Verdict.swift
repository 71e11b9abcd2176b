internal import Basics
internal import Client
internal import MetadataModel
internal import Simulator

/// Holds what clients and watches were told against each other.
///
/// The watch of everything from the first revision on is taken as the history of the keyspace. It is not believed: it
/// must hold every write that was acknowledged, at the revision that was told; none that was refused; no number twice,
/// which is a write that took effect twice; and folded up it must be what a listing finds at the end.
struct Verdict {
    struct Row {
        var key: [UInt8]
        var value: [UInt8]
        var revision: UInt64
    }

    private(set) var violations: [String] = []
    private(set) var fenceCount = 0
    private(set) var fencedWrites = 0
    /// Groups of keys whose histories were decided, and those that were too much for the search.
    private(set) var groupsDecided = 0
    private(set) var groupsUndecided: [String] = []
    private(set) var stuck: [(group: String, operations: [Operation])] = []

    private struct Place: Hashable {
        var revision: UInt64
        var key: [UInt8]
    }

    mutating func add(_ text: String) {
        guard violations.count < 200 else { return }
        violations.append(text)
    }

    private static func text(_ key: [UInt8]) -> String { String(decoding: key, as: UTF8.self) }

    // MARK: The feed

    mutating func checkFeed(_ feed: [Watcher.Told], _ state: Recorder.State, rows: [Row], at last: UInt64) {
        var numbers: [UInt32: UInt64] = [:]
        var places: [Place: UInt32] = [:]
        var model = StateModel()
        var before: UInt64 = 0
        for told in feed {
            if told.revision <= before { add("the feed tells revision \(told.revision) after \(before)") }
            before = told.revision
            for change in told.changes {
                let index = LogIndex(told.revision)
                switch change {
                case .deleted(let key): _ = model.apply(.delete(key: key, expected: nil), reply: nil, at: index)
                case .put(let key, let value, _):
                    _ = model.apply(.put(key: key, value: value, expected: nil), reply: nil, at: index)
                    guard key.starts(with: "work/".utf8) || key.starts(with: "queue/".utf8) else { continue }
                    let number = KeyspaceWorker.number(of: value)
                    places[Place(revision: told.revision, key: key)] = number
                    if let first = numbers.updateValue(told.revision, forKey: number) {
                        add("value \(number) was written at \(first) and again, \(Self.text(key)), at \(told.revision)")
                    }
                }
            }
        }
        for write in state.acknowledged where places[Place(revision: write.revision, key: write.key)] != write.number {
            let name = "\(Self.text(write.key)) = \(write.number)"
            add("\(name) was acknowledged at \(write.revision); the feed has it not")
        }
        for row in state.seen where places[Place(revision: row.revision, key: row.key)] != row.number {
            add("a read found \(Self.text(row.key)) = \(row.number) of revision \(row.revision); the feed has it not")
        }
        for number in state.refusedNumbers {
            if let revision = numbers[number] { add("value \(number) was refused, and took effect at \(revision)") }
        }
        checkRows(model, rows, at: last)
    }

    private mutating func checkRows(_ model: StateModel, _ rows: [Row], at last: UInt64) {
        let expected = model.rows(prefix: [], at: LogIndex(last))
        let found = rows.map { Page.Row(key: $0.key, revision: LogIndex($0.revision), value: $0.value) }
        guard expected.count == found.count else {
            let names = Set(found.map(\.key)).symmetricDifference(expected.map(\.key))
            return add(
                "a listing finds \(found.count) rows, the feed leaves \(expected.count): "
                    + names.prefix(5).map(Self.text).joined(separator: " "))
        }
        for (wanted, row) in zip(expected, found)
        where wanted.key != row.key || wanted.value != row.value || wanted.revision != row.revision {
            add("a listing finds \(Self.text(row.key)) of revision \(row.revision), the feed leaves \(wanted.revision)")
        }
    }

    // MARK: The other watches

    mutating func checkWatcher(_ watcher: Watcher, against feed: [Watcher.Told]) {
        if let wrong = watcher.wrong { add("watch \(watcher.name): \(wrong)") }
        let through = watcher.through
        var expected: [Watcher.Told] = []
        for told in feed where told.revision <= through {
            let changes = told.changes.filter { $0.key.starts(with: watcher.prefix) }
            if !changes.isEmpty { expected.append(.init(revision: told.revision, changes: changes)) }
        }
        let found = watcher.told
        for (place, told) in found.enumerated() {
            guard place < expected.count else {
                return add("watch \(watcher.name) tells revision \(told.revision), which the feed has not")
            }
            let wanted = expected[place]
            guard wanted.revision == told.revision else {
                return add(
                    "watch \(watcher.name) tells revision \(told.revision) where \(wanted.revision) comes next")
            }
            if wanted.changes != told.changes {
                add("watch \(watcher.name) tells of revision \(told.revision) something else than the feed")
            }
        }
        if found.count < expected.count {
            add(
                "watch \(watcher.name) has come to \(through) and left out \(expected.count - found.count) revisions, "
                    + "the first of them \(expected[found.count].revision)")
        }
    }

    // MARK: Fences

    /// Writes under fences, in the order in which they took effect; and those that holders were told of.
    mutating func checkFences(_ feed: [Watcher.Told], _ holders: HolderLogs) {
        var checker = FenceChecker()
        var accepted: [String: UInt64] = [:]
        for told in feed {
            for case .put(let key, let value, _) in told.changes where key.starts(with: "fenced/".utf8) {
                let parts = Self.text(key).split(separator: "/")
                let fields = Self.text(value).split(separator: " ")
                guard parts.count == 3, fields.count == 3, let fence = UInt64(fields[0]), let writer = UInt32(fields[1])
                else {
                    add("\(Self.text(key)) holds what nobody wrote")
                    continue
                }
                let condition = Guard(
                    kind: parts[1].hasPrefix("lock") ? .lock : .election, name: Array(parts[1].utf8), fence: fence)
                if let violation = checker.accepted(
                    condition, isShared: parts[2] == "s", by: writer, at: LogIndex(told.revision))
                {
                    add(violation)
                }
                if let first = accepted.updateValue(told.revision, forKey: "\(parts[1]) \(Self.text(value))") {
                    add("\(parts[1]): the write \(Self.text(value)) took effect at \(first) and at \(told.revision)")
                }
            }
        }
        for (write, revision) in holders.accepted where accepted[write] != revision {
            add("\(write) was accepted at \(revision); the feed has it at \(accepted[write] as Any)")
        }
        for write in holders.refused {
            if let revision = accepted[write] { add("\(write) was refused, and took effect at \(revision)") }
        }
        fenceCount = checker.fenceCount
        fencedWrites = checker.acceptedCount
    }

    // MARK: Order

    mutating func checkLinearizability(_ history: [String: [Operation]]) {
        for (group, operations) in history.sorted(by: { $0.key < $1.key }) {
            switch LinearizabilityChecker.check(operations) {
            case .linearizable: groupsDecided += 1
            case .undecided: groupsUndecided.append("\(group) of \(operations.count) operations")
            case .violation(let placed, let stuckAt):
                groupsDecided += 1
                stuck.append((group, operations))
                add(
                    "\(group) is not linearizable: \(placed) of \(operations.count) operations can be placed; then "
                        + "none of these comes next: \(stuckAt.prefix(6).map(\.description).joined(separator: " | "))")
            }
        }
    }
}

/// What the processes that hold fences have told.
struct HolderLogs {
    /// `line fence writer counter` → revision.
    var accepted: [String: UInt64] = [:]
    /// Refused for good.
    var refused: [String] = []
    var heldCount = 0
    /// Writes of holders that were none any more.
    var fencedCount = 0
    var unknownCount = 0
    var errors: [String: Int] = [:]
    /// Groups and what they were led under.
    private(set) var elections: Set<String> = []

    mutating func read(_ text: String) {
        // What was being written when the process was killed has no end.
        let whole = text.hasSuffix("\n") ? text[...] : text[..<(text.lastIndex(of: "\n") ?? text.startIndex)]
        for line in whole.split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count >= 2 else { continue }
            switch fields[0] {
            case "holds" where fields.count == 3:
                heldCount += 1
                if fields[1].hasPrefix("group") { elections.insert("\(fields[1]) \(fields[2])") }
            case "accepted" where fields.count == 6:
                accepted["\(fields[1]) \(fields[3]) \(fields[4]) \(fields[5])"] = UInt64(fields[2])
            case "fenced" where fields.count == 5:
                fencedCount += 1
                refused.append(fields[1...4].joined(separator: " "))
            case "failed" where fields.count == 6: refused.append(fields[1...4].joined(separator: " "))
            case "unknown": unknownCount += 1
            case "error" where fields.count == 3: errors[String(fields[2]), default: 0] += 1
            default: break
            }
        }
    }
}
