internal import Basics
internal import ClientCore
internal import MetadataModel
internal import Wire

/// Somebody who wants to know who leads a group: reads it, watches the line from there, and reads it again when the
/// changes are lost; and all that it came to know.
final class SimObserver {
    struct Seen {
        var revision: LogIndex
        var leader: Candidate?
        /// What was in between is known to be lost.
        var isAfterGap: Bool
    }

    let number: Int
    let client: Int
    let group: [UInt8]
    var follower: LineFollower<Candidate>
    var seen: [Seen] = []
    /// It has to read, as soon as its client thinks again.
    var isLost = true
    var isAfterGap = false
    var watch: WatchID
    var unread = 0

    init(number: Int, client: Int, group: [UInt8]) {
        self.number = number
        self.client = client
        self.group = group
        follower = LineFollower(name: group)
        // Apart from those of watches of records.
        watch = WatchID(UInt64(1_000_000 + number) << 32)
    }

    /// The generation that it followed is over.
    func startAnew() {
        follower = LineFollower(name: group)
        watch = WatchID(watch.rawValue + 1)
        unread = 0
        isLost = true
        isAfterGap = true
    }

    func takeNews() {
        guard let news = follower.takeNews() else { return }
        seen.append(Seen(revision: news.revision, leader: news.holders.first, isAfterGap: isAfterGap))
        isAfterGap = false
    }
}

extension World {
    func startObservers() {
        for number in 0..<settings.observerCount {
            let group = CoordinationWorkload.name(number % 2)
            observers.append(SimObserver(number: number, client: number % clients.count, group: group))
        }
    }

    /// Those that have lost the line read it.
    func observersGoOn(of client: SimClient) {
        for observer in observers where observer.client == client.number {
            if observer.isLost {
                observer.isLost = false
                let query = Query.candidates(group: observer.group, after: .zero, limit: 1)
                let item = WorkItem(
                    call: .query(query.encoded(), level: .linearizable, address: nil),
                    expectation: .observer(observer.number), group: nil,
                    operation: Operation(client: client.number, called: now.nanoseconds, returned: nil))
                submit(item, by: client, within: .seconds(8))
            } else if !isFaulty || watchChance.happens(percent: 30) {
                readWatch(observer)
            }
        }
        carryOut(client)
    }

    func observerRead(_ number: Int, _ reader: inout ByteReader, at revision: LogIndex) throws(DecodeError) {
        let observer = observers[number]
        let part = try ListPart<Candidate>(decoding: &reader)
        observer.follower.read(part.items, at: revision, isFirst: true)
        observer.takeNews()
        observer.watch = WatchID(observer.watch.rawValue + 1)
        observer.unread = 0
        var options = WatchOptions(span: .prefix(LineKey.line(observer.group)), from: revision.next)
        options.table = .elections
        // Small enough that it is used up.
        options.window = UInt32(watchChance.pick([300, 4_000, 64_000]))
        clients[observer.client].state.step(
            .watchBegun(observer.watch, options, deadline: now + .seconds(3_600)), now: now)
    }

    func observerReadFailed(_ number: Int) {
        observers[number].isLost = true
        if !isFaulty { observersGoOn(of: clients[observers[number].client]) }
    }

    /// - Returns: whether the watch is one of an observer.
    func observerTold(_ id: WatchID, _ news: WatchNews) -> Bool {
        guard let observer = observers.first(where: { $0.watch == id }) else { return false }
        switch news {
        case .begun: break
        case .changes(let revision, let changes, _, let size):
            observer.unread += size
            guard revision > observer.follower.revision else {
                fail("observer \(observer.number) is told of \(revision) after \(observer.follower.revision)")
                return true
            }
            do {
                try observer.follower.apply(changes, at: revision)
            } catch {
                fail("observer \(observer.number) cannot read revision \(revision): \(error)")
            }
            observer.takeNews()
        case .progress(let revision, let size):
            observer.unread += size
            try? observer.follower.apply([], at: revision)
        case .ended(let failure):
            if failure.error.code == .generationChanged {
                toldOfGeneration(clients[observer.client])
                return true
            }
            guard failure.error.code == .compacted else {
                fail("observer \(observer.number)'s watch ended: \(failure.error.message)")
                return true
            }
            counters.add(.watchCompacted)
            observer.isLost = true
            observer.isAfterGap = true
            if !isFaulty { observersGoOn(of: clients[observer.client]) }
            return true
        }
        if !isFaulty || watchChance.happens(percent: 50) { readWatch(observer) }
        return true
    }

    private func readWatch(_ observer: SimObserver) {
        guard observer.unread > 0 else { return }
        let size = observer.unread
        observer.unread = 0
        clients[observer.client].state.step(.watchRead(observer.watch, size), now: now)
    }

    /// Each observer has seen the true leaders, all of them, in order, and knows the present one.
    func checkObservers() {
        for observer in observers {
            let name = "observer \(observer.number) of \(String(decoding: observer.group, as: UTF8.self))"
            let truth = oracle.leaders
            var last: SimObserver.Seen?
            var highest: UInt64 = 0
            for seen in observer.seen {
                guard seen.leader == truth.leader(of: observer.group, at: seen.revision) else {
                    fail("\(name) saw \(describe(seen.leader)) at \(seen.revision), who did not lead then")
                    break
                }
                if let last, !seen.isAfterGap {
                    let between = truth.changes(of: observer.group, after: last.revision, through: seen.revision)
                    if between != [seen.leader] {
                        fail("\(name) saw one change between \(last.revision) and \(seen.revision), not \(between.count)")
                    }
                }
                if let leader = seen.leader {
                    // New data come under the fence that is; another leader under a higher one.
                    let isSame = last?.leader?.ticket == leader.ticket || highest == 0
                    if !isSame, leader.fence <= highest {
                        fail("\(name) saw fence \(leader.fence) after \(highest)")
                    }
                    highest = leader.fence
                }
                last = seen
            }
            leadersSeen += observer.seen.count
            guard let last, last.leader == truth.leader(of: observer.group, at: oracle.lastIndex) else {
                fail("\(name) does not know who leads in the end: \(describe(last?.leader))")
                continue
            }
        }
    }

    private func describe(_ leader: Candidate?) -> String {
        leader.map { "ticket \($0.ticket), fence \($0.fence)" } ?? "nobody"
    }
}
