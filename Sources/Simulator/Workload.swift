internal import Basics
internal import ClientCore
internal import MetadataModel
internal import Wire

/// What clients do: a few hot keys in groups of four, so that everything conflicts with everything; every value is
/// written once, so that whoever reads it knows which write he sees.
struct Workload {
    static let groupCount = 3
    static let keysPerGroup = LinearizabilityChecker.keysMax

    static func prefix(of group: Int) -> [UInt8] { Array("group\(group)/".utf8) }
    static func key(_ group: Int, _ place: Int) -> [UInt8] { prefix(of: group) + Array("k\(place)".utf8) }
    static let queuePrefix = Array("queue/".utf8)

    /// The number of a value stands in its first four bytes.
    static func value(_ number: UInt32, size: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: max(4, size))
        bytes.store(number, at: 0)
        return bytes
    }

    static func number(of value: [UInt8]) -> UInt32 {
        var reader = ByteReader(value.rawSpan)
        return (try? reader.readUInt32()) ?? 0
    }
}

/// What a client knows of a row.
struct KnownRow {
    var revision: LogIndex
    var number: UInt32
}

/// One call as the workload made it, with what its answer is to be held against.
struct WorkItem {
    enum Expectation {
        case mutation(content: [UInt8])
        case transaction(Transaction, content: [UInt8])
        case get(key: [UInt8])
        case list(prefix: [UInt8], PageRequest)
        /// By its place among the operator's requests.
        case members(request: Int)
        case coordination(CoordinationAsk, content: [UInt8])
        /// A part of a snapshot (World+Restore).
        case snapshotPart
        /// Who leads, for the observer of that number.
        case observer(Int)
        case registry(RegistryAsk, content: [UInt8])
        /// A page of the registry, for the reader of that number.
        case registryPage(reader: Int, PageRequest)
    }

    var call: Call
    var expectation: Expectation
    /// The part of the history that it belongs to; nil for what only the model checks.
    var group: Int?
    var operation: Operation
    /// Nothing that was answered to this client before the call may be newer than what it is told.
    var floor = LogIndex.zero
    /// The same for all clients together, when it was called.
    var realTimeFloor = LogIndex.zero
    var isStale = false
    /// A view that was pinned before shows what was then.
    var isOfView = false
}

extension World {
    /// The next thing that `client` does.
    func nextItem(for client: SimClient) -> WorkItem {
        if let item = historyItem(for: client) { return item }
        let group = workChance.number(in: 0...Workload.groupCount - 1)
        let place = workChance.number(in: 0...Workload.keysPerGroup - 1)
        let key = Workload.key(group, place)
        switch workChance.number(in: 0...99) {
        case 0..<22: return putItem(client, group, place, isConditional: false)
        case 22..<38: return putItem(client, group, place, isConditional: true)
        case 38..<43: return deleteItem(client, group, place, isConditional: workChance.happens(percent: 50))
        case 43..<57: return transactionItem(client, group)
        case 57..<75: return getItem(client, group, place, key, isStale: false)
        case 75..<85: return getItem(client, group, place, key, isStale: true)
        case 85..<92: return listItem(client, group)
        case 92..<99: return sequentialItem(client)
        default: return deletePrefixItem(client, group)
        }
    }

    private func newNumber() -> UInt32 {
        lastValueNumber += 1
        return lastValueNumber
    }

    private func newValue(_ number: UInt32) -> [UInt8] {
        let size = workChance.happens(percent: 5) ? workChance.number(in: 200...4_000) : workChance.number(in: 4...120)
        return Workload.value(number, size: size)
    }

    private func operation(_ client: SimClient) -> Operation {
        Operation(client: client.number, called: now.nanoseconds, returned: nil)
    }

    private func mutation(_ mutation: Mutation) -> (call: Call, content: [UInt8]) {
        let content = CommandContent(mutation)
        let bytes = [content.kind.rawValue] + content.body
        // Most go through the client's session; some bring a session of their own.
        return (workChance.happens(percent: 12) ? .mutateOnce(content) : .mutate(content), bytes)
    }

    func putItem(_ client: SimClient, _ group: Int, _ place: Int, isConditional: Bool) -> WorkItem {
        let number = newNumber()
        var operation = operation(client)
        operation.writes = [.init(place, number)]
        var expected: LogIndex?
        if isConditional {
            let known = client.known[group][place]
            expected = known.revision
            operation.conditions = [.init(place, known.number)]
        }
        let (call, content) = mutation(
            .put(key: Workload.key(group, place), value: newValue(number), expectedRevision: expected))
        return WorkItem(call: call, expectation: .mutation(content: content), group: group, operation: operation)
    }

    func deleteItem(_ client: SimClient, _ group: Int, _ place: Int, isConditional: Bool) -> WorkItem {
        var operation = operation(client)
        operation.writes = [.init(place, 0)]
        var expected: LogIndex?
        if isConditional {
            let known = client.known[group][place]
            expected = known.revision
            operation.conditions = [.init(place, known.number)]
        }
        let (call, content) = mutation(.delete(key: Workload.key(group, place), expectedRevision: expected))
        return WorkItem(call: call, expectation: .mutation(content: content), group: group, operation: operation)
    }

    private func deletePrefixItem(_ client: SimClient, _ group: Int) -> WorkItem {
        var operation = operation(client)
        operation.writes = (0..<Workload.keysPerGroup).map { .init($0, 0) }
        let (call, content) = mutation(.deleteRange(.prefix(Workload.prefix(of: group))))
        return WorkItem(call: call, expectation: .mutation(content: content), group: group, operation: operation)
    }

    func transactionItem(_ client: SimClient, _ group: Int) -> WorkItem {
        var operation = operation(client)
        var places = Array(0..<Workload.keysPerGroup)
        // A different order each time, from this stream of chance.
        for place in places.indices { places.swapAt(place, workChance.number(in: place...places.count - 1)) }
        var transaction = Transaction(then: [])
        for place in places.prefix(workChance.number(in: 0...2)) {
            let known = client.known[group][place]
            let key = Workload.key(group, place)
            if workChance.happens(percent: 30) {
                let exists = known.revision != .zero
                // Not a comparison of values, so only its absence is one that the history can express.
                if exists { continue }
                transaction.comparisons.append(.exists(key: key, false))
            } else {
                transaction.comparisons.append(.revision(key: key, equals: known.revision))
            }
            operation.conditions.append(.init(place, known.number))
        }
        for place in places.prefix(workChance.number(in: 1...2)) {
            let number = newNumber()
            transaction.then.append(.put(key: Workload.key(group, place), value: newValue(number)))
            operation.writes.append(.init(place, number))
        }
        transaction.then.append(.get(key: Workload.key(group, places[2])))
        if workChance.happens(percent: 30) {
            transaction.then.append(.delete(key: Workload.key(group, places[3])))
            operation.writes.append(.init(places[3], 0))
        }
        transaction.otherwise = [
            .get(key: Workload.key(group, places[0])), .get(key: Workload.key(group, places[3])),
        ]
        let (call, content) = mutation(.transaction(transaction))
        return WorkItem(
            call: call, expectation: .transaction(transaction, content: content), group: group, operation: operation)
    }

    func getItem(
        _ client: SimClient, _ group: Int, _ place: Int, _ key: [UInt8], isStale: Bool
    ) -> WorkItem {
        var operation = operation(client)
        operation.reads = [.init(place, 0)]
        let query = Query.get(key: key).encoded()
        return WorkItem(
            call: .query(query, level: isStale ? .stale : .linearizable, address: anyAddress()),
            expectation: .get(key: key), group: group, operation: operation, isStale: isStale)
    }

    func listItem(_ client: SimClient, _ group: Int) -> WorkItem {
        let page = PageRequest()
        let prefix = Workload.prefix(of: group)
        let query = Query.list(.prefix(prefix), page).encoded()
        let isStale = workChance.happens(percent: 30)
        return WorkItem(
            call: .query(query, level: isStale ? .stale : .linearizable, address: anyAddress()),
            expectation: .list(prefix: prefix, page), group: group, operation: operation(client), isStale: isStale)
    }

    /// Half of the reads go to a node by name, so that followers serve too.
    private func anyAddress() -> String? {
        workChance.happens(percent: 50) ? workChance.pick(nodes).clientAddress : nil
    }

    func sequentialItem(_ client: SimClient) -> WorkItem {
        let (call, content) = mutation(.createSequential(prefix: Workload.queuePrefix, value: newValue(newNumber())))
        return WorkItem(
            call: call, expectation: .mutation(content: content), group: nil, operation: operation(client))
    }
}
