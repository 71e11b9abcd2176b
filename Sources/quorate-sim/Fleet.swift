internal import Basics
internal import Glibc
internal import Simulator

/// Seeds spread over child processes of this program. A child is told a seed, runs it, tells the result, and is told the
/// next. One that is stopped, by an invariant or otherwise, is the failure of its seed; another takes its place.
///
/// One seed in ten that passed is run again, in another process, where the same events must happen. Results are handed
/// on in the order of the seeds.
struct Fleet {
    private struct Job {
        var seed: UInt64
        /// The first run, when this is the second, and who ran it.
        var first: (result: Simulation.Result, worker: Int)?
    }

    private struct Worker {
        let number: Int
        let process: ChildProcess
        var job: Job?
        /// Not yet a whole line.
        var unread: [UInt8] = []
        /// Lines that are no result.
        var words: [String] = []
    }

    private let arguments: [String]
    private let seeds: Range<UInt64>
    private let endsAtFailure: Bool
    private let report: (Simulation.Result) -> Void
    private var workers: [Worker] = []
    private var lastWorker = 0
    private var next: UInt64
    private var again: [Job] = []
    private var finished: [UInt64: Simulation.Result] = [:]
    private var nextToReport: UInt64
    /// Beyond it nothing matters any more.
    private var end: UInt64

    /// - Parameter arguments: of a child; it is told the seeds afterwards.
    init(
        _ arguments: [String], seeds: Range<UInt64>, endsAtFailure: Bool,
        report: @escaping (Simulation.Result) -> Void
    ) {
        self.arguments = arguments
        self.seeds = seeds
        self.endsAtFailure = endsAtFailure
        self.report = report
        next = seeds.lowerBound
        nextToReport = seeds.lowerBound
        end = seeds.upperBound
    }

    /// Runs all seeds, `count` of them at once, or through the first that fails.
    /// - Parameter isOver: true when no further seed is to be begun.
    mutating func run(_ count: Int, isOver: () -> Bool) throws {
        defer { for worker in workers { worker.process.end(killing: true) } }
        for _ in 0..<max(1, count) { workers.append(try newWorker()) }
        while nextToReport < end {
            if isOver() { end = min(end, max(next, nextToReport)) }
            try giveWork()
            guard workers.contains(where: { $0.job != nil }) else { break }
            try hear()
        }
        // A child that is out of work ends by itself, and only then is its time known.
        for worker in workers where worker.job == nil { worker.process.end() }
        workers.removeAll { $0.job == nil }
    }

    private mutating func newWorker() throws -> Worker {
        lastWorker += 1
        return Worker(number: lastWorker, process: try ChildProcess(arguments, hasInput: true))
    }

    // MARK: - Work

    private mutating func giveWork() throws {
        for place in workers.indices where workers[place].job == nil {
            guard let job = takeJob(for: workers[place].number) else { continue }
            if job.first?.worker == workers[place].number {
                workers[place].process.end()
                workers[place] = try newWorker()
            }
            workers[place].job = job
            let line = Array("\(job.seed)\n".utf8)
            // One that is gone is noticed when it is listened to.
            _ = write(workers[place].process.input, line, line.count)
        }
    }

    private mutating func takeJob(for worker: Int) -> Job? {
        again.removeAll { $0.seed >= end }
        if let place = again.firstIndex(where: { $0.first?.worker != worker }) { return again.remove(at: place) }
        if next < end {
            next += 1
            return Job(seed: next - 1)
        }
        return again.isEmpty ? nil : again.removeFirst()
    }

    private mutating func hear() throws {
        var streams = workers.map { pollfd(fd: $0.process.output, events: Int16(POLLIN), revents: 0) }
        guard poll(&streams, nfds_t(streams.count), 1_000) > 0 else { return }
        for place in workers.indices where streams[place].revents != 0 {
            let bytes = workers[place].process.read()
            workers[place].unread += bytes
            while let newline = workers[place].unread.firstIndex(of: UInt8(ascii: "\n")) {
                let line = String(decoding: workers[place].unread[..<newline], as: UTF8.self)
                workers[place].unread.removeFirst(newline + 1)
                heard(line, from: place)
            }
            if bytes.isEmpty { try ended(place) }
        }
    }

    private mutating func heard(_ line: String, from place: Int) {
        guard let result = ResultLine.result(in: line), let job = workers[place].job, job.seed == result.seed else {
            workers[place].words.append(line)
            return
        }
        workers[place].job = nil
        workers[place].words = []
        done(job, result, by: workers[place].number)
    }

    /// The child is no more.
    private mutating func ended(_ place: Int) throws {
        let worker = workers[place]
        let signal = worker.process.end()
        workers[place] = try newWorker()
        guard let job = worker.job else { return }
        var result = job.first?.result ?? Simulation.Result(seed: job.seed)
        let invariant = worker.words.last { $0.contains("Fatal error: ") } ?? worker.words.last
        let how = signal == 0 ? "" : ", signal \(signal)"
        result.violation = "it stopped the process\(how): \(invariant ?? "nothing was said")"
        finish(result)
    }

    // MARK: - Results

    private mutating func done(_ job: Job, _ result: Simulation.Result, by worker: Int) {
        guard let first = job.first?.result else {
            guard job.seed % 10 == 0, result.violation == nil else { return finish(result) }
            again.append(Job(seed: job.seed, first: (result, worker)))
            return
        }
        var verdict = first
        if result.eventHash != first.eventHash || result.violation != nil {
            verdict.violation =
                "run twice, it gave two hashes: \(hexadecimal(first.eventHash)) and \(hexadecimal(result.eventHash))"
        }
        finish(verdict)
    }

    private mutating func finish(_ result: Simulation.Result) {
        finished[result.seed] = result
        if result.violation != nil, endsAtFailure { end = min(end, result.seed + 1) }
        while nextToReport < end, let result = finished.removeValue(forKey: nextToReport) {
            nextToReport += 1
            report(result)
        }
    }
}
