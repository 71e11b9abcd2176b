internal import Client
internal import Simulator

/// One client that works on a few hot keys in groups of four, so that everything conflicts with everything. Every value
/// is a number that is written once, so that whoever reads it knows which write he sees. After a while new groups take
/// the place of the old ones: each group's history stays small enough to be decided.
struct KeyspaceWorker {
    static let groupCount = 3
    static let keysPerGroup = LinearizabilityChecker.keysMax
    private static let epochSeconds: UInt64 = 12

    private struct Known {
        var revision: UInt64 = 0
        var number: UInt32 = 0
    }

    let number: Int
    let client: MetadataClient
    let recorder: Recorder
    let begunAt: UInt64
    var chance: Chance
    private var epoch: UInt64 = 0
    private var known: [[Known]] = []

    init(number: Int, client: MetadataClient, recorder: Recorder, begunAt: UInt64, seed: UInt64) {
        self.number = number
        self.client = client
        self.recorder = recorder
        self.begunAt = begunAt
        chance = Chance(seed: seed, stream: 1_000 + UInt64(number))
        forget()
    }

    private mutating func forget() {
        known = Array(repeating: Array(repeating: Known(), count: Self.keysPerGroup), count: Self.groupCount)
    }

    // MARK: Values

    /// The number stands first, in digits; blanks fill the value up.
    static func value(_ number: UInt32, size: Int) -> [UInt8] {
        let digits = Array("\(number) ".utf8)
        return digits + Array(repeating: UInt8(ascii: " "), count: max(0, size - digits.count))
    }

    static func number(of value: [UInt8]) -> UInt32 {
        UInt32(String(decoding: value.prefix { $0 != UInt8(ascii: " ") }, as: UTF8.self)) ?? 0
    }

    private func groupName(_ group: Int) -> String { "work/\(epoch)/\(group)/" }
    private func key(_ group: Int, _ place: Int) -> [UInt8] { Array("\(groupName(group))k\(place)".utf8) }

    private mutating func newValue() -> (number: UInt32, bytes: [UInt8]) {
        let size = chance.happens(percent: 3) ? chance.number(in: 1_000...8_000) : chance.number(in: 10...120)
        let number = recorder.newNumber()
        return (number, Self.value(number, size: size))
    }

    // MARK: Calls

    mutating func run() async {
        while !recorder.isOver {
            let now = (Clock.now() - begunAt) / 1_000_000_000 / Self.epochSeconds
            if now != epoch {
                epoch = now
                forget()
            }
            await step()
            try? await Task.sleep(for: chance.pause(2, 22))
        }
    }

    private mutating func step() async {
        let group = chance.number(in: 0...Self.groupCount - 1)
        let place = chance.number(in: 0...Self.keysPerGroup - 1)
        switch chance.number(in: 0...99) {
        case 0..<20: await put(group, place, isConditional: false)
        case 20..<36: await put(group, place, isConditional: true)
        case 36..<41: await delete(group, place, isConditional: chance.happens(percent: 50))
        case 41..<55: await transaction(group)
        case 55..<72: await get(group, place)
        case 72..<80: await getStale(group, place)
        case 80..<90: await list(group)
        case 90..<98: await createSequential()
        default: await deleteAll(group)
        }
    }

    private func begin() -> Operation { Operation(client: number, called: Clock.now(), returned: nil) }

    private func finish(_ kind: String, _ group: Int, _ operation: Operation) {
        let name = groupName(group)
        recorder.answered(kind)
        recorder.with { $0.history[name, default: []].append(operation) }
    }

    /// A mutation that was not done, or of which nobody knows.
    private mutating func failed(_ error: ClientError, _ group: Int?, _ operation: Operation, _ numbers: [UInt32]) {
        recorder.failed(error)
        guard error.mayHaveTakenEffect else {
            recorder.with { $0.refusedNumbers.formUnion(numbers) }
            return
        }
        let name = group.map(groupName)
        recorder.with { state in
            state.unknownCount += 1
            if let name { state.history[name, default: []].append(operation) }
        }
    }

    private func acknowledge(_ revision: UInt64, _ key: [UInt8], _ number: UInt32) {
        recorder.with { $0.acknowledged.append(.init(revision: revision, key: key, number: number)) }
    }

    private var isOneShot: Bool { mutating get { chance.happens(percent: 12) } }

    private mutating func put(_ group: Int, _ place: Int, isConditional: Bool) async {
        let (key, value) = (key(group, place), newValue())
        var operation = begin()
        operation.writes = [.init(place, value.number)]
        let expected = isConditional ? known[group][place] : nil
        if let expected { operation.conditions = [.init(place, expected.number)] }
        do throws(ClientError) {
            let revision = try await client.put(
                key, value.bytes, ifRevision: expected?.revision, isOneShot: isOneShot)
            operation.returned = Clock.now()
            operation.rank = revision
            operation.conditionsHeld = isConditional ? true : nil
            known[group][place] = Known(revision: revision, number: value.number)
            acknowledge(revision, key, value.number)
            finish("put", group, operation)
        } catch where error.code == .conflict {
            operation.returned = Clock.now()
            operation.conditionsHeld = false
            recorder.with { _ = $0.refusedNumbers.insert(value.number) }
            finish("conflict", group, operation)
            await get(group, place)
        } catch {
            failed(error, group, operation, [value.number])
        }
    }

    private mutating func delete(_ group: Int, _ place: Int, isConditional: Bool) async {
        let key = key(group, place)
        var operation = begin()
        operation.writes = [.init(place, 0)]
        let expected = isConditional ? known[group][place] : nil
        if let expected { operation.conditions = [.init(place, expected.number)] }
        do throws(ClientError) {
            let revision = try await client.delete(key, ifRevision: expected?.revision, isOneShot: isOneShot)
            operation.returned = Clock.now()
            operation.rank = revision
            operation.conditionsHeld = isConditional ? true : nil
            known[group][place] = Known()
            finish("delete", group, operation)
        } catch where error.code == .conflict {
            operation.returned = Clock.now()
            operation.conditionsHeld = false
            finish("conflict", group, operation)
        } catch {
            failed(error, group, operation, [])
        }
    }

    private mutating func deleteAll(_ group: Int) async {
        var operation = begin()
        operation.writes = (0..<Self.keysPerGroup).map { .init($0, 0) }
        do throws(ClientError) {
            let deleted = try await client.deletePrefix(Array(groupName(group).utf8), isOneShot: isOneShot)
            operation.returned = Clock.now()
            operation.rank = deleted.revision
            finish("delete of a prefix", group, operation)
        } catch {
            failed(error, group, operation, [])
        }
    }

    private mutating func transaction(_ group: Int) async {
        var places = Array(0..<Self.keysPerGroup)
        for place in places.indices { places.swapAt(place, chance.number(in: place...places.count - 1)) }
        var operation = begin()
        var transaction = MetadataTransaction(then: [])
        for place in places.prefix(chance.number(in: 0...2)) {
            let expected = known[group][place]
            transaction.conditions.append(.revision(key: key(group, place), expected.revision))
            operation.conditions.append(.init(place, expected.number))
        }
        var numbers: [(place: Int, number: UInt32)] = []
        for place in places.prefix(chance.number(in: 1...2)) {
            let value = newValue()
            numbers.append((place, value.number))
            transaction.then.append(.put(key: key(group, place), value: value.bytes))
            operation.writes.append(.init(place, value.number))
        }
        transaction.then.append(.get(key: key(group, places[2])))
        if chance.happens(percent: 30) {
            transaction.then.append(.delete(key: key(group, places[3])))
            operation.writes.append(.init(places[3], 0))
        }
        transaction.otherwise = [.get(key: key(group, places[0])), .get(key: key(group, places[3]))]
        do throws(ClientError) {
            let outcome = try await client.transaction(transaction, isOneShot: isOneShot)
            operation.returned = Clock.now()
            operation.rank = outcome.revision
            operation.conditionsHeld = outcome.succeeded
            let read = outcome.succeeded ? [places[2]] : [places[0], places[3]]
            let rows = outcome.results.compactMap { result -> KeyValue?? in
                if case .row(let row) = result { .some(row) } else { nil }
            }
            for (place, row) in zip(read, rows) {
                known[group][place] = learn(row)
                operation.reads.append(.init(place, known[group][place].number))
            }
            if outcome.succeeded {
                for (place, number) in numbers {
                    known[group][place] = Known(revision: outcome.revision, number: number)
                    acknowledge(outcome.revision, key(group, place), number)
                }
            } else {
                recorder.with { $0.refusedNumbers.formUnion(numbers.map(\.number)) }
            }
            finish("transaction", group, operation)
        } catch {
            failed(error, group, operation, numbers.map(\.number))
        }
    }

    private func learn(_ row: KeyValue?) -> Known {
        guard let row else { return Known() }
        let number = Self.number(of: row.value)
        recorder.with { $0.seen.append(.init(key: row.key, revision: row.revision, number: number)) }
        return Known(revision: row.revision, number: number)
    }

    private mutating func get(_ group: Int, _ place: Int) async {
        var operation = begin()
        do throws(ClientError) {
            let row = try await client.get(key(group, place))
            operation.returned = Clock.now()
            known[group][place] = learn(row)
            operation.reads = [.init(place, known[group][place].number)]
            finish("read", group, operation)
        } catch {
            recorder.failed(error)
        }
    }

    /// May be behind; what it tells must have been so once.
    private mutating func getStale(_ group: Int, _ place: Int) async {
        do throws(ClientError) {
            _ = learn(try await client.get(key(group, place), level: .stale))
            recorder.with { $0.counts["stale read", default: 0] += 1 }
        } catch {
            recorder.failed(error)
        }
    }

    private mutating func list(_ group: Int) async {
        var operation = begin()
        var found = Array(repeating: Known(), count: Self.keysPerGroup)
        do throws(ClientError) {
            let prefix = groupName(group)
            for try await row in client.list(prefix: Array(prefix.utf8)) {
                let place = row.key.last.map { Int($0) - Int(UInt8(ascii: "0")) } ?? -1
                guard found.indices.contains(place), row.key.count == prefix.utf8.count + 2 else {
                    let key = String(decoding: row.key, as: UTF8.self)
                    return recorder.violation("a list of \(prefix) tells of \(key)")
                }
                found[place] = learn(row)
            }
            operation.returned = Clock.now()
            known[group] = found
            operation.reads = found.enumerated().map { .init($0.offset, $0.element.number) }
            finish("list", group, operation)
        } catch {
            recorder.failed(error)
        }
    }

    private mutating func createSequential() async {
        let value = newValue()
        let operation = begin()
        do throws(ClientError) {
            let created = try await client.createSequential(
                prefix: Array("queue/".utf8), value: value.bytes, isOneShot: isOneShot)
            acknowledge(created.revision, created.key, value.number)
            recorder.answered("sequential key")
        } catch {
            failed(error, nil, operation, [value.number])
        }
    }
}
