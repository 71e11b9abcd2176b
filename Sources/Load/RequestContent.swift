internal import Basics
internal import MetadataModel
internal import NIOCore
internal import RegistryModel
internal import Wire

/// What requests are made of: keys, values and sessions. Keys and values of one request are borrowed: they are to be
/// gone before the next one is made, or their memory is copied.
struct RequestContent {
    /// Of the sessions that are opened for their own sake.
    let sessionTimeout: Interval
    private var keys: NumberedKeys
    private var sessionKeys: NumberedKeys
    private var values: ChanceValues
    private var random = SystemRandomNumberGenerator()
    /// Nil where nobody watches.
    private let run: UInt64?
    private var groups: [[SessionID]] = []
    private let groupSize: Int
    private let commands: RegistryLoad?
    /// Of the registry's commands.
    let guards: [Guard]

    init(_ plan: LoadPlan) {
        keys = plan.recordKeys
        sessionKeys = plan.sessionKeys
        values = ChanceValues(size: plan.valueSize, seed: ~plan.seed)
        if case .watch = plan.workload { run = random.next() } else { run = nil }
        if case .registry(let load) = plan.workload {
            commands = load
            guards = [Guard(kind: .election, name: RegistryCommand.electionGroup, fence: load.fence)]
        } else {
            commands = nil
            guards = []
        }
        guard case .session(let sessions) = plan.workload else {
            groupSize = 1
            sessionTimeout = Limits.sessionTimeoutDefault
            return
        }
        sessionTimeout = sessions.timeout
        groupSize = sessions.perKeepAlive
        groups = stride(from: 0, to: sessions.count, by: groupSize).map { first in
            Array(repeating: .housekeeping, count: min(groupSize, sessions.count - first))
        }
    }

    var groupCount: Int { groups.count }

    mutating func put(_ key: Int, due: NIODeadline) -> Mutation {
        let value = run.map { values.next(with: WriteStamp(run: $0, due: due)) } ?? values.next()
        return .put(key: keys[key], value: value)
    }

    mutating func transaction(_ first: Int, _ second: Int) -> Mutation {
        let (key, other, value) = (keys[first], keys[second], values.next())
        let puts = [key, other].map { Transaction.Operation.put(key: $0, value: value) }
        return .transaction(Transaction(comparisons: [.exists(key: key, true)], then: puts))
    }

    mutating func puts(_ numbers: [Int]) -> Mutation {
        .transaction(Transaction(then: numbers.map { .put(key: keys[$0], value: values.next()) }))
    }

    mutating func get(_ key: Int) -> Query { .get(key: keys[key]) }

    mutating func registry(_ number: Int) -> Mutation {
        guard let commands else { fatalError("the run has no commands of the registry") }
        return .registry(commands.command(number, chance: random.next()))
    }

    /// When the value was to be written, if it is one of this run.
    func due(_ value: [UInt8]) -> NIODeadline? {
        guard let stamp = WriteStamp(of: value), stamp.run == run else { return nil }
        return stamp.due
    }

    // MARK: Sessions

    mutating func drawSession() -> SessionID { SessionID(random.next(), random.next()) }

    /// For the session of this number; in the place of the one that it had before.
    mutating func drawSession(_ number: Int) -> SessionID {
        let session = drawSession()
        groups[number / groupSize][number % groupSize] = session
        return session
    }

    /// Goes with the session.
    mutating func sessionRow(_ number: Int) -> Mutation {
        .put(key: sessionKeys[number], value: values.next(), isOwned: true)
    }

    func group(_ number: Int) -> [SessionID] { groups[number] }
}
