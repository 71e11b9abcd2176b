internal import Basics
internal import ClientCore
internal import MetadataModel
internal import Wire

/// A watch of a client, over everything that happens to nodes and connections, and all that it was told.
final class SimWatcher {
    /// From a beginning to where the feed was lost, or to now.
    struct Stretch {
        /// The first revision that it was to tell.
        var first: LogIndex
        /// What it has told, or said that there is no more than that.
        var through: LogIndex
        var told: [(revision: LogIndex, changes: [Change])] = []
        var origins: [ChangeOrigin?] = []
    }

    let number: Int
    let client: Int
    let prefix: [UInt8]
    let beginsAtOne: Bool
    /// It asks what was there before.
    let asksBefore: Bool
    var stretches: [Stretch] = []
    /// The watch at present; each new beginning is another one.
    var id: WatchID
    /// Bytes that came and were not read.
    var unread = 0

    init(number: Int, client: Int, prefix: [UInt8], beginsAtOne: Bool, asksBefore: Bool) {
        self.number = number
        self.client = client
        self.prefix = prefix
        self.beginsAtOne = beginsAtOne
        self.asksBefore = asksBefore
        id = WatchID(UInt64(number) << 32)
    }
}

/// Watches in the workload, in worlds that ask for some. What each is told is held against all that was committed:
/// every change once, in order, whole, none left out.
extension World {
    func startWatchers() {
        for number in 0..<settings.watchCount {
            let prefix = [[], Workload.prefix(of: 0), Workload.prefix(of: 1), Workload.queuePrefix][number % 4]
            let watcher = SimWatcher(
                number: number + 1, client: number % clients.count, prefix: prefix, beginsAtOne: number % 3 == 0,
                asksBefore: number % 5 != 4)
            watchers.append(watcher)
            beginWatch(watcher, from: watcher.beginsAtOne ? LogIndex(1) : .zero)
        }
    }

    private func beginWatch(_ watcher: SimWatcher, from first: LogIndex) {
        watcher.id = WatchID(watcher.id.rawValue + 1)
        watcher.unread = 0
        var options = WatchOptions(span: .prefix(watcher.prefix), from: first)
        // Small enough that it is used up.
        options.window = UInt32(watchChance.pick([600, 4_000, 64_000]))
        options.progressInterval = .milliseconds(500)
        if watcher.asksBefore { options.filter = [.before, .valuesBefore, .origins] }
        clients[watcher.client].state.step(
            .watchBegun(watcher.id, options, deadline: now + .seconds(3_600)), now: now)
        carryOut(clients[watcher.client])
    }

    func watchTold(_ id: WatchID, _ news: WatchNews) {
        if observerTold(id, news) || readerTold(id, news) { return }
        guard let watcher = watchers.first(where: { $0.id == id }) else { return }
        switch news {
        case .begun(let revision):
            watcher.stretches.append(SimWatcher.Stretch(first: revision.next, through: revision))
        case .changes(let revision, let changes, let origin, let size):
            watcher.unread += size
            watchedChanges += changes.count
            note(revision, of: watcher)
            watcher.stretches[watcher.stretches.count - 1].told.append((revision, changes))
            watcher.stretches[watcher.stretches.count - 1].origins.append(origin)
        case .progress(let revision, let size):
            watcher.unread += size
            guard let last = watcher.stretches.last, revision >= last.through else {
                return fail("watch \(watcher.number) says that it has come to \(revision), where it was before")
            }
            watcher.stretches[watcher.stretches.count - 1].through = revision
        case .ended(let failure):
            tell("watch \(watcher.number) ended: \(failure.error.code.name)")
            // It begins again with its client.
            if failure.error.code == .generationChanged { return toldOfGeneration(clients[watcher.client]) }
            guard failure.error.code == .compacted else {
                return fail("watch \(watcher.number) ended: \(failure.error.message)")
            }
            counters.add(.watchCompacted)
            // It would read the rows now, and go on from there.
            if isFaulty { lostWatches.append(watcher.number) } else { beginWatch(watcher, from: .zero) }
            return
        }
        // Once nothing is in the way any more, everybody reads at once.
        if !isFaulty || watchChance.happens(percent: 50) { readWatch(watcher) }
    }

    private func note(_ revision: LogIndex, of watcher: SimWatcher) {
        guard let last = watcher.stretches.last else {
            return fail("watch \(watcher.number) tells changes before it has begun")
        }
        guard revision > last.through else {
            return fail("watch \(watcher.number) tells revision \(revision) after \(last.through)")
        }
        watcher.stretches[watcher.stretches.count - 1].through = revision
    }

    private func readWatch(_ watcher: SimWatcher) {
        guard watcher.unread > 0 else { return }
        let size = watcher.unread
        watcher.unread = 0
        clients[watcher.client].state.step(.watchRead(watcher.id, size), now: now)
    }

    /// What has come since is read, or not yet; watches that lost the feed begin again.
    func watchersGoOn(of client: SimClient) {
        guard !watchers.isEmpty else { return }
        for watcher in watchers where watcher.client == client.number {
            if lostWatches.contains(watcher.number) {
                lostWatches.removeAll { $0 == watcher.number }
                beginWatch(watcher, from: .zero)
            } else if !isFaulty || watchChance.happens(percent: 30) {
                readWatch(watcher)
            }
        }
        carryOut(client)
    }

    /// What was told after `last` is of a part of the history that is gone.
    func watchesAreRestored(through last: LogIndex) {
        for watcher in watchers {
            watcher.stretches.removeAll { $0.first > last }
            for place in watcher.stretches.indices {
                let count = watcher.stretches[place].told.prefix { $0.revision <= last }.count
                watcher.stretches[place].told.removeSubrange(count...)
                watcher.stretches[place].origins.removeSubrange(count...)
                watcher.stretches[place].through = min(watcher.stretches[place].through, last)
            }
        }
        lostWatches = []
        for observer in observers {
            observer.seen.removeAll { $0.revision > last }
            observer.isLost = false
        }
    }

    /// Their client has started anew.
    func watchesStartAnew(of client: SimClient) {
        for watcher in watchers where watcher.client == client.number { beginWatch(watcher, from: .zero) }
        for observer in observers where observer.client == client.number { observer.startAnew() }
        // Once the faults are over no client thinks of its observers again.
        if !isFaulty { observersGoOn(of: client) }
    }

    /// Rows go with their sessions; the model of the keyspace knows neither whose they are nor when a session ends.
    private func withoutEndedSessions(
        _ told: (revision: LogIndex, changes: [Change])
    ) -> (revision: LogIndex, changes: [Change])? {
        let owned = Array("owned/".utf8)
        let changes = told.changes.filter { $0.value != nil || !$0.key.starts(with: owned) }
            .map { Change(key: $0.key, value: $0.value) }
        return changes.isEmpty ? nil : (told.revision, changes)
    }

    /// After the end of all faults each watch has told everything.
    func checkWatches() {
        for watcher in watchers {
            guard let open = watcher.stretches.last else {
                fail("watch \(watcher.number) never began")
                continue
            }
            let expectedThrough = oracle.model.changes(prefix: watcher.prefix).last?.revision ?? .zero
            if open.through < expectedThrough, expectedThrough >= open.first {
                fail("watch \(watcher.number) has told changes through \(open.through), not \(expectedThrough)")
            }
            for stretch in watcher.stretches {
                let expected = oracle.model.changes(prefix: watcher.prefix).filter {
                    $0.revision >= stretch.first && $0.revision <= stretch.through
                }
                for (told, origin) in zip(stretch.told, stretch.origins) {
                    let fault = fault(
                        ofHistory: told.changes, origin, at: told.revision, isAsked: watcher.asksBefore)
                    if let fault { fail("watch \(watcher.number) tells at \(told.revision) \(fault)") }
                }
                let found = stretch.told.compactMap(withoutEndedSessions)
                guard found.map(\.revision) == expected.map(\.revision) else {
                    let told = Set(found.map(\.revision))
                    let missing = expected.first { !told.contains($0.revision) }?.revision
                    fail(
                        "watch \(watcher.number) from \(stretch.first): revision \(missing as Any) is missing, or one is "
                            + "too many")
                    continue
                }
                for (told, wanted) in zip(found, expected) where told.changes != wanted.changes {
                    fail("watch \(watcher.number) tells of revision \(told.revision) something else than happened")
                }
            }
        }
    }
}

extension WatchNews {
    /// Everything through it is in the state that the watch tells of.
    var revision: LogIndex? {
        switch self {
        case .begun(let revision), .changes(let revision, _, _, _), .progress(let revision, _): revision
        case .ended: nil
        }
    }
}
