internal import Basics
internal import ClientCore
internal import LogStore
internal import MetadataModel
internal import ReplicaStorage
internal import Wire

/// One short story in which everything happens that a crash could interrupt: a cluster of three is founded, clients write,
/// one of them owns a row, segments fill, the log is trimmed, a fourth node gets a snapshot, votes, and takes the place of
/// a founder. It is told again and again, each time with a crash at another point, until it ends before the crash comes.
///
/// Every node is asked afterwards for what every run of the simulator has to end with: nothing acknowledged is lost,
/// everything that was answered fits one history, all states are equal, and the cluster serves again.
package enum CrashEnumeration {
    package struct Result: Sendable {
        /// Where somebody died, in order.
        package var crashes: [CrashPoint] = []
        /// Points that were come by after the last crash, until the story ended.
        package var pointsLeft = 0
        /// By kind, over the whole story.
        package var pointsSeen: [Int] = []
        package var violation: String?
        package var eventHash: UInt64 = 0
        package var acknowledged = 0
        package var steps = 0
    }

    /// - Parameter points: of each crash, how many points are passed since the one before it.
    package static func run(
        crashingAt points: [Int], _ kind: CrashKind, seed: UInt64 = 1, trace: ((String) -> Void)? = nil
    ) -> Result {
        let world = world(seed: seed)
        world.trace = trace
        world.crashes.mode = .counted(points, kind)
        world.isFaulty = false
        var result = Result()
        result.steps = world.tellStory()
        result.pointsLeft = world.crashes.passed
        result.pointsSeen = world.crashes.seen
        Simulation.finish(world)
        result.crashes = world.crashes.crashes.map(\.point)
        result.violation = world.violation
        result.eventHash = world.eventHash
        result.acknowledged = world.ackedMutations
        return result
    }

    private static func world(seed: UInt64) -> World {
        let world = World.quiet(seed: seed) {
            $0.changesMembers = true
            $0.clientCount = 2
            $0.segmentSize = 16 * 1_024
            $0.logRetention = 1
            $0.tailSizeMax = 1_024
            $0.sessionTimeout = .seconds(10)
        }
        // A state in memory is durable by its snapshots only, and the story is too short for one.
        return world.settings.hasVolatileState ? self.world(seed: seed &+ 1_000) : world
    }
}

extension World {
    private static let stepTime = Interval.seconds(30)

    /// - Returns: how many steps came to their end.
    fileprivate func tellStory() -> Int {
        restClients()
        let steps: [() -> Void] = [
            { self.ask { self.putItem($0, 0, 0, isConditional: false) } },
            {
                self.ask { self.transactionItem($0, 0) }
                self.ask(of: 1) { self.deleteItem($0, 0, 1, isConditional: false) }
            },
            { self.ask(of: 1) { self.ownedItem($0) } },
            { for place in 0..<4 { self.ask { self.largeItem($0, 1, place) } } },
            { for place in 0..<4 { self.ask(of: 1) { self.largeItem($0, 1, place) } } },
            { self.ask { self.getItem($0, 1, 2, Workload.key(1, 2), isStale: false) } },
            { self.operate(self.replacement()) },
            {
                self.ask { self.putItem($0, 2, 0, isConditional: true) }
                self.ask(of: 1) { self.transactionItem($0, 2) }
            },
        ]
        for (number, step) in steps.enumerated() {
            guard violation == nil else { return number }
            step()
            let end = now + Self.stepTime
            while violation == nil, !(clients.allSatisfy { $0.items.isEmpty } && isOperatorDone) {
                guard now < end else {
                    fail("step \(number) of the story does not end: \(unrest)")
                    return number
                }
                run(until: now + .milliseconds(20))
            }
            // Who comes next needs what the others have trimmed.
            let patience = now + .seconds(4)
            while number == 4, violation == nil, now < patience, !isLogTrimmed { run(until: now + .milliseconds(20)) }
        }
        return steps.count
    }

    private var isLogTrimmed: Bool {
        nodes.allSatisfy { node in node.process.map { $0.log.log.firstIndex > LogIndex(1) } ?? true }
    }

    private func ask(of number: Int = 0, _ item: (SimClient) -> WorkItem) {
        submit(item(clients[number]), by: clients[number], within: Self.stepTime)
    }

    /// So large that a segment holds three of them.
    private func largeItem(_ client: SimClient, _ group: Int, _ place: Int) -> WorkItem {
        var item = putItem(client, group, place, isConditional: false)
        lastValueNumber += 1
        let content = CommandContent(
            .put(key: Workload.key(group, place), value: Workload.value(lastValueNumber, size: 5_000)))
        item.operation.writes = [.init(place, lastValueNumber)]
        item.call = .mutate(content)
        item.expectation = .mutation(content: [content.kind.rawValue] + content.body)
        return item
    }

    private func ownedItem(_ client: SimClient) -> WorkItem {
        lastValueNumber += 1
        let content = CommandContent(
            .put(key: Array("owned".utf8), value: Workload.value(lastValueNumber, size: 8), isOwned: true))
        return WorkItem(
            call: .mutate(content), expectation: .mutation(content: [content.kind.rawValue] + content.body), group: nil,
            operation: Operation(client: client.number, called: now.nanoseconds, returned: nil))
    }

    /// The fourth machine takes the place of the first.
    private func replacement() -> [Operator.Step] {
        let (old, new) = (nodes[0], nodes[settings.nodeCount])
        return [
            .start(new.number),
            .ask(.add(name: new.name, peerAddress: new.peerAddress, replacing: old.name), .add),
            .ask(.exchange(old: old.name, new: new.name), .replace), .takeAway(old.id),
        ]
    }

    private func operate(_ steps: [Operator.Step]) {
        admin.steps = steps
        operatorFinishes()
    }
}
