internal import ArgumentParser
internal import Client
internal import Glibc
internal import Synchronization

/// A process that stands in the lines of election groups and locks, and writes under the fences that it is given for as
/// long as it is not refused: whether it may still believe in them it never asks. It is killed and stopped by the run.
struct Actor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "actor", shouldDisplay: false)

    @Option var endpoints: String
    @Option var number: UInt32
    @Option var groups: Int
    @Option var locks: Int
    @Option var ttl: Int
    @Option var seed: UInt64
    /// Milliseconds between the writes of one holder, on average.
    @Option var pause: Int

    func run() async throws {
        // The run is over when nobody holds the other end any more.
        Threads.run {
            var byte: UInt8 = 0
            while read(STDIN_FILENO, &byte, 1) > 0 {}
            Glibc.exit(0)
        }
        await withDiscardingTaskGroup { tasks in
            for line in 0..<groups + locks {
                var holder = Holder(self, isLock: line >= groups, line: line >= groups ? line - groups : line)
                tasks.addTask { await holder.run() }
            }
        }
    }

    /// Of everything that this process has to tell, one line each; whole lines, also when it is killed.
    static func tell(_ text: String) {
        let bytes = Array((text + "\n").utf8)
        _ = bytes.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
    }

    /// `fence writer counter`.
    static func value(_ fence: UInt64, _ writer: UInt32, _ counter: Int) -> String { "\(fence) \(writer) \(counter)" }
}

/// One client in one line.
private struct Holder {
    let actor: Actor
    let isLock: Bool
    let name: String
    var chance: Chance
    var client: MetadataClient
    var counter = 0
    var isShared = false

    init(_ actor: Actor, isLock: Bool, line: Int) {
        self.actor = actor
        self.isLock = isLock
        name = "\(isLock ? "lock" : "group")\(line)"
        chance = Chance(seed: actor.seed, stream: UInt64(actor.number) << 20 | UInt64(line) << 1 | (isLock ? 1 : 0))
        client = Self.client(of: actor, chance: &chance)
    }

    private static func client(of actor: Actor, chance: inout Chance) -> MetadataClient {
        var endpoints = actor.endpoints.split(separator: ",").map(String.init)
        for place in endpoints.indices { endpoints.swapAt(place, chance.number(in: place...endpoints.count - 1)) }
        var configuration = MetadataClientConfiguration(endpoints: endpoints)
        configuration.sessionTimeout = .seconds(actor.ttl)
        configuration.timeout = .seconds(10)
        return MetadataClient(configuration)
    }

    mutating func run() async {
        while true {
            do throws(ClientError) {
                let fence = try await takePlace()
                try await writeUnder(fence)
            } catch {
                Actor.tell("error \(name) \(error.code.rawValue)")
                await sleep(50, 300)
            }
            // Now and then it dies in order, and is somebody else from then on.
            if chance.happens(percent: 10) {
                await client.shutdown()
                client = Self.client(of: actor, chance: &chance)
            }
        }
    }

    private func sleep(_ low: Int, _ high: Int) async {
        try? await Task.sleep(for: .milliseconds(Int.random(in: low...high)))
    }

    private mutating func takePlace() async throws(ClientError) -> Fence {
        guard isLock else {
            let ticket = try await client.campaign(name, data: Array("\(actor.number)".utf8))
            let fence = try await client.waitToLead(name, ticket)
            Actor.tell("holds \(name) \(fence.number)")
            if chance.happens(percent: 20) {
                try await client.put(
                    Array("owned/\(actor.number)/\(name)".utf8), Array("\(fence.number)".utf8), isOwned: true)
            }
            return fence
        }
        isShared = chance.happens(percent: 30)
        let delay = chance.happens(percent: 60) ? 0 : chance.number(in: 1...3_000)
        let ticket = try await client.acquireLock(
            name, isShared ? .shared : .exclusive, delay: .milliseconds(delay))
        let fence = try await client.waitToHold(name, ticket, deadline: .seconds(20))
        Actor.tell("holds \(name) \(fence.number)")
        return fence
    }

    /// Until it is refused, or gives up its place.
    private mutating func writeUnder(_ fence: Fence) async throws(ClientError) {
        let key = Array("fenced/\(name)/\(isShared ? "s" : "x")".utf8)
        let writesMax = isLock ? chance.number(in: 1...12) : Int.max
        var writes = 0
        while writes < writesMax {
            counter += 1
            writes += 1
            let value = Actor.value(fence.number, actor.number, counter)
            do throws(ClientError) {
                // Not only through the session that has the fence: whoever it was given to may use it.
                let revision = try await client.put(
                    key, Array(value.utf8), guards: [fence], isOneShot: chance.happens(percent: 30))
                Actor.tell("accepted \(name) \(revision) \(value)")
            } catch {
                guard error.code != .fenced else {
                    Actor.tell("fenced \(name) \(value)")
                    return
                }
                Actor.tell("\(error.mayHaveTakenEffect ? "unknown" : "failed") \(name) \(value) \(error.code.rawValue)")
            }
            await sleep(actor.pause / 2, actor.pause * 3 / 2)
            if !isLock, chance.happens(percent: 1) {
                try await client.withdraw(name)
                Actor.tell("withdrew \(name)")
                return
            }
        }
        try await client.releaseLock(name)
    }
}
