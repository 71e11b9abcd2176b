internal import Basics

/// What is asked, before it is a frame. The numbers are those of keys, of sessions, of groups of sessions, and of
/// commands or agents.
enum Request: Equatable {
    case put(Int)
    /// In one transaction.
    case puts([Int])
    case get(Int)
    /// If the first key is there, both are put.
    case transaction(Int, Int)
    case openSession(Int)
    case keepAlive(Int)
    case registry(Int)

    /// For how many it counts.
    var operationCount: Int { if case .puts(let keys) = self { keys.count } else { 1 } }
}

/// Which requests come, in what order.
struct RequestQueue {
    private enum Order {
        /// Of keys drawn at random, without end.
        case records(keys: Int, getPercent: Int)
        case transactions(keys: Int)
        /// One group of sessions after the other, without end.
        case keepAlives(groups: Int)
        /// About agents drawn at random, without end.
        case commands(agents: Int)
        case list(of: Item)
    }

    /// What the numbers of a list are of.
    private enum Item {
        /// Up to so many go with one request.
        case keys(together: Int)
        case session
        case command

        var countMax: Int { if case .keys(let together) = self { together } else { 1 } }

        func request(_ numbers: ArraySlice<Int>, _ first: Int) -> Request {
            switch self {
            case .keys: numbers.count == 1 ? .put(first) : .puts(Array(numbers))
            case .session: .openSession(first)
            case .command: .registry(first)
            }
        }

        /// Nil for a request that is none of the list's.
        func numbers(of request: Request) -> [Int]? {
            switch (self, request) {
            case (.keys, .puts(let numbers)): numbers
            case (.keys, .put(let number)), (.session, .openSession(let number)), (.command, .registry(let number)):
                [number]
            default: nil
            }
        }
    }

    private let order: Order
    private var random: SplitMix64
    private var nextGroup = 0
    /// Of a list: what is still to be asked, from `position` on, and what has no reply yet.
    private var numbers: [Int] = []
    private var position = 0
    private var underWay = 0

    private init(_ order: Order, seed: UInt64 = 0, numbers: [Int] = []) {
        self.order = order
        random = SplitMix64(seed: seed)
        self.numbers = numbers
    }

    static func records(keys: Int, getPercent: Int, seed: UInt64) -> RequestQueue {
        RequestQueue(.records(keys: keys, getPercent: getPercent), seed: seed)
    }

    /// - Parameter keys: at least two.
    static func transactions(keys: Int, seed: UInt64) -> RequestQueue {
        RequestQueue(.transactions(keys: keys), seed: seed)
    }

    static func keepAlives(groups: Int) -> RequestQueue { RequestQueue(.keepAlives(groups: groups)) }

    /// A put of each of these keys, and again as long as it fails.
    static func puts(of keys: [Int], together: Int = 1) -> RequestQueue {
        RequestQueue(.list(of: .keys(together: together)), numbers: keys)
    }

    /// The same for sessions that are opened.
    static func openings(of sessions: [Int]) -> RequestQueue { RequestQueue(.list(of: .session), numbers: sessions) }

    /// The same for the first commands of the registry.
    static func commands(count: Int) -> RequestQueue { RequestQueue(.list(of: .command), numbers: Array(0..<count)) }

    static func commands(agents: Int, seed: UInt64) -> RequestQueue {
        RequestQueue(.commands(agents: agents), seed: seed)
    }

    /// A list, and all of it has been done.
    var isDone: Bool {
        guard case .list = order else { return false }
        return position == numbers.count && underWay == 0
    }

    /// Of a list, what was not asked, or is to be asked again.
    var untakenCount: Int { numbers.count - position }

    var hasNext: Bool {
        guard case .list = order else { return true }
        return position < numbers.count
    }

    /// Nil when there is nothing to ask, or not now.
    mutating func next() -> Request? {
        switch order {
        case .records(let keys, let getPercent):
            let isGet = getPercent == 100 || (getPercent > 0 && draw(100) < getPercent)
            let key = draw(keys)
            return isGet ? .get(key) : .put(key)
        case .transactions(let keys):
            let first = draw(keys)
            return .transaction(first, (first + 1 + draw(keys - 1)) % keys)
        case .keepAlives(let groups):
            defer { nextGroup = (nextGroup + 1) % groups }
            return .keepAlive(nextGroup)
        case .commands(let agents): return .registry(draw(agents))
        case .list(let item):
            let taken = numbers[position...].prefix(item.countMax)
            guard let first = taken.first else { return nil }
            position += taken.count
            underWay += 1
            return item.request(taken, first)
        }
    }

    mutating func finished(_ request: Request, isSuccess: Bool) {
        guard case .list(let item) = order, let failed = item.numbers(of: request) else { return }
        underWay -= 1
        if !isSuccess { numbers += failed }
    }

    private mutating func draw(_ bound: Int) -> Int { Int(random.next() % UInt64(bound)) }
}
