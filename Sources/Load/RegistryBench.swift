package import Basics
internal import NIOCore
internal import NIOPosix
internal import RegistryModel
internal import Transport

/// What a run of the registry is to do.
package struct RegistryPlan: Sendable {
    package var shape: RegistryShape
    /// Where the cluster is, and how many requests are under way where many are; its workload does not count.
    package var load: LoadPlan
    /// The first so many come back to the next master.
    package var returningAgents: Int
    /// So many sessions are kept alive.
    package var heartBeatingAgents: Int
    /// Of each part that has no end by itself.
    package var duration = Interval.seconds(5)
    /// After so long without a sign of it a master leads no more.
    package var masterTimeout = Interval.seconds(2)
    /// Fills nothing: waits for the loss of the master that leads, and takes over.
    package var standsBy = false
    /// Leads until it is told to end.
    package var stays = false

    package init(shape: RegistryShape, load: LoadPlan, returningAgents: Int, heartBeatingAgents: Int) {
        self.shape = shape
        self.load = load
        self.returningAgents = returningAgents
        self.heartBeatingAgents = heartBeatingAgents
    }
}

/// Leads the masters, fills their registry, and measures what it costs to change, to read and to take over. Loads are
/// those of `LoadGenerator`, one after the other.
package struct RegistryBench: Sendable {
    private let plan: RegistryPlan
    private let progress: @Sendable (String) -> Void

    /// The master that fills is not to lose its place on a machine that has no time for it.
    private static let fillingTimeout = Interval.seconds(30)
    /// While the registry is read, and before.
    private static let writeRate = 500
    private static let heartBeatTimeout = Interval.seconds(10)

    /// - Parameter progress: told what is done, a line at a time; `standsBy` once it waits for a loss.
    package init(_ plan: RegistryPlan, progress: @escaping @Sendable (String) -> Void) {
        self.plan = plan
        self.progress = progress
    }

    package static let standsBy = "stands by"

    /// - Parameters:
    ///   - lines: where it stands by, the first tells of the loss; where it stays, their end is the end.
    ///   - result: called before it stays.
    package func run(lines: AsyncStream<String>, result: (RegistryReport) -> Void) async throws(LoadFailure) {
        var report = RegistryReport()
        let first = plan.standsBy ? nil : Master(plan.load, sessionTimeout: Self.fillingTimeout, waits: false)
        if let first {
            let fence = try await first.leads()
            for commands: RegistryLoad.Commands in [.recovery, .frameworks, .agents, .volumes, .reports] {
                report.filling.append(try await carryOut(commands, fence))
            }
            report.alone = try await compare(fence, connections: 1, inFlight: 1)
            report.together = try await compare(
                fence, connections: plan.load.connectionCount, inFlight: plan.load.inFlight)
            report.reading = try await read()
        }
        let next = Master(plan.load, sessionTimeout: plan.masterTimeout, waits: true)
        try await next.isPlaced()
        report.takeOver = try await takeOver(next, from: first, lines)
        report.heartBeats = try await keepAlive()
        result(report)
        if plan.stays { for await _ in lines {} }
        await next.resign()
    }

    // MARK: Loads

    private func loadPlan(_ commands: RegistryLoad.Commands, _ fence: UInt64) -> LoadPlan {
        let load = RegistryLoad(shape: plan.shape, fence: fence, commands: commands)
        var plan = plan.load
        plan.workload = .registry(load)
        if load.isBatched { (plan.connectionCount, plan.inFlight) = (4, 4) }
        return plan
    }

    /// A list of commands, to its end.
    private func carryOut(_ commands: RegistryLoad.Commands, _ fence: UInt64) async throws(LoadFailure) -> LoadReport {
        try await run(loadPlan(commands, fence))
    }

    private func run(_ plan: LoadPlan) async throws(LoadFailure) -> LoadReport {
        let report = try await LoadGenerator.run(plan)
        let seconds = (report.whole.seconds * 10).rounded() / 10
        progress("\(report.whole.name): \(report.operations) in \(seconds) s")
        return report
    }

    private func compare(
        _ fence: UInt64, connections: Int, inFlight: Int
    ) async throws(LoadFailure) -> [LoadReport] {
        var put = plan.load
        put.workload = .write
        var reports: [LoadReport] = []
        for var load in [put, loadPlan(.updates, fence), loadPlan(.reservations, fence)] {
            load.connectionCount = connections
            load.inFlight = inFlight
            load.duration = plan.duration
            reports.append(try await run(load))
        }
        return reports
    }

    /// A load that goes on while something else is done.
    private struct Background {
        private let report: Task<Result<LoadReport, LoadFailure>, Never>
        private let windows: AsyncStream<String>.Continuation

        /// - Returns: when the load is measured, or has failed.
        init(_ load: LoadPlan) async {
            let (names, windows) = AsyncStream.makeStream(of: String.self)
            let (beginnings, beginning) = AsyncStream.makeStream(of: Void.self)
            self.windows = windows
            report = Task {
                defer { beginning.finish() }
                do throws(LoadFailure) {
                    return .success(try await LoadGenerator.run(load, windows: names, began: { beginning.yield() }))
                } catch {
                    return .failure(error)
                }
            }
            for await _ in beginnings { break }
        }

        func beginWindow(_ name: String) { windows.yield(name) }

        func end() async throws(LoadFailure) -> LoadReport {
            windows.finish()
            return try await report.value.get()
        }
    }

    private func pass(_ time: Interval) async { try? await Task.sleep(for: .nanoseconds(time.nanoseconds)) }

    // MARK: Reading

    private func read() async throws(LoadFailure) -> RegistryReport.Reading {
        var load = plan.load
        load.workload = .write
        load.rate = Self.writeRate
        load.duration = nil
        let writes = await Background(load)
        writes.beginWindow("calm")
        await pass(plan.duration)
        writes.beginWindow("meanwhile")
        var found = RegistryReader.Finding()
        var seconds: [Double] = []
        do throws(LoadFailure) {
            repeat {
                found = try await readRecords()
                seconds.append(Double(found.time.nanoseconds) / 1e9)
            } while seconds.reduce(0, +) < Double(plan.duration.nanoseconds) / 1e9
        } catch {
            _ = try? await writes.end()
            throw error
        }
        let reading = RegistryReport.Reading(
            recordCount: found.recordCount, size: found.size, seconds: seconds, writes: try await writes.end())
        progress("reading: \(reading.recordCount) records, \(UInt64(reading.recordsPerSecond)) per second")
        return reading
    }

    /// - Parameter table: nil: all of them.
    private func readRecords(of table: RegistryTable? = nil) async throws(LoadFailure) -> RegistryReader.Finding {
        let node = try await scout().leader
        let timeout = plan.load.timeout
        return try await onLoop { context, completion in
            let reader = RegistryReader(table, context: context, completion: completion)
            reader.start(at: node, timeout: timeout)
            return reader
        }
    }

    private func scout() async throws(LoadFailure) -> Scout.Finding {
        let (endpoints, timeout) = (plan.load.endpoints, plan.load.timeout)
        return try await onLoop { context, completion in
            let scout = Scout(endpoints, timeout: timeout, context: context, completion: completion)
            scout.start()
            return scout
        }
    }

    /// Keeps what works on the loop until it has told its result.
    private final class Work {
        var worker: AnyObject?
    }

    /// - Parameter begin: makes and starts what tells its result, once, later.
    private func onLoop<Value: Sendable>(
        _ begin: @escaping @Sendable (
            TransportContext, _ completion: @escaping (Result<Value, LoadFailure>) -> Void
        ) -> AnyObject
    ) async throws(LoadFailure) -> Value {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let outcome = loop.makePromise(of: Result<Value, LoadFailure>.self)
        let load = plan.load
        loop.execute {
            let work = Work()
            work.worker = begin(TransportContext(eventLoop: loop, of: load)) { result in
                outcome.succeed(result)
                work.worker = nil
            }
        }
        return try await outcome.futureResult.outcome()
    }

    // MARK: Taking over

    private func takeOver(
        _ master: Master, from former: Master?, _ lines: AsyncStream<String>
    ) async throws(LoadFailure) -> RegistryReport.TakeOver {
        let checkpoints = try await checkpoints()
        let lost = Task<NIODeadline?, Never> {
            if let former {
                let now = NIODeadline.now()
                await former.resign()
                return now
            }
            for await _ in lines { return NIODeadline.now() }
            return nil
        }
        if plan.standsBy { progress(Self.standsBy) }
        let fence: UInt64
        do throws(LoadFailure) {
            fence = try await master.leads()
        } catch {
            lost.cancel()
            throw error
        }
        let leading = NIODeadline.now()
        if plan.standsBy { lost.cancel() }
        let since = await lost.value ?? leading
        func secondsSince() -> Double { Double((NIODeadline.now() - since).nanoseconds) / 1e9 }
        let leadsAfter = Double((leading - since).nanoseconds) / 1e9
        _ = try await carryOut(.recovery, fence)
        let recoveredAfter = secondsSince()
        let attaching = try await carryOut(.attachments(checkpoints), fence)
        return RegistryReport.TakeOver(
            agents: checkpoints.count, leadsAfter: leadsAfter, recoveredAfter: recoveredAfter,
            attachedAfter: secondsSince(), attaching: attaching)
    }

    /// What the agents that come back know of themselves.
    private func checkpoints() async throws(LoadFailure) -> [AgentCheckpoint] {
        let found = try await readRecords(of: .agents).checkpoints
        var checkpoints: [AgentCheckpoint] = []
        for agent in 0..<plan.returningAgents {
            guard let checkpoint = found[agent] else {
                let message = "the registry has no agent \(agent): it was filled with other numbers, or not at all"
                throw LoadFailure(kind: .usage, message: message)
            }
            checkpoints.append(checkpoint)
        }
        return checkpoints
    }

    private func keepAlive() async throws(LoadFailure) -> RegistryReport.HeartBeats {
        let agents = plan.heartBeatingAgents
        var load = plan.load
        load.workload = .session(
            LoadPlan.Sessions(count: agents, timeout: Self.heartBeatTimeout, perKeepAlive: 1))
        // Each is kept alive three times in the time after which it would end; at first, once without being counted.
        let period = Self.heartBeatTimeout / 3
        load.rate = max(1, Int(Int64(agents) * 1_000_000_000 / period.nanoseconds))
        load.warmUp = period
        load.duration = nil
        let keepAlives = await Background(load)
        let began = NIODeadline.now()
        let indexes: (first: LogIndex, last: LogIndex)
        do throws(LoadFailure) {
            let first = try await scout().lastIndex
            await pass(max(plan.duration, period))
            indexes = (first, try await scout().lastIndex)
        } catch {
            _ = try? await keepAlives.end()
            throw error
        }
        let seconds = Double((NIODeadline.now() - began).nanoseconds) / 1e9
        return RegistryReport.HeartBeats(
            agents: agents, seconds: seconds, logEntries: indexes.last.distance(after: indexes.first),
            keepAlives: try await keepAlives.end())
    }
}

/// A candidate of the run, for those who are not on its loop.
private struct Master: Sendable {
    private let seat: EventLoopFuture<NIOLoopBound<MasterSeat>>
    private let placed: EventLoopFuture<Result<Void, LoadFailure>>
    private let led: EventLoopFuture<Result<UInt64, LoadFailure>>

    init(_ plan: LoadPlan, sessionTimeout: Interval, waits: Bool) {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let placed = loop.makePromise(of: Result<Void, LoadFailure>.self)
        let led = loop.makePromise(of: Result<UInt64, LoadFailure>.self)
        seat = loop.submit {
            let seat = MasterSeat(
                plan, sessionTimeout: sessionTimeout, waits: waits,
                context: TransportContext(eventLoop: loop, of: plan),
                placed: { placed.succeed($0) }, led: { led.succeed($0) })
            seat.start()
            return NIOLoopBound(seat, eventLoop: loop)
        }
        self.placed = placed.futureResult
        self.led = led.futureResult
    }

    /// Returns once it has its place in the line.
    func isPlaced() async throws(LoadFailure) { try await placed.outcome() }

    /// - Returns: its fence, once it leads.
    func leads() async throws(LoadFailure) -> UInt64 { try await led.outcome() }

    /// Returns when the next in line can lead.
    func resign() async {
        let done = seat.eventLoop.makePromise(of: Result<Void, LoadFailure>.self)
        seat.whenSuccess { $0.value.resign { done.succeed(.success(())) } }
        try? await done.futureResult.outcome()
    }
}
