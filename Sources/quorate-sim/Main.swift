internal import ArgumentParser
internal import Basics
internal import Glibc
internal import Simulator

/// Runs simulated clusters, each a function of its seed. A seed that fails is run again with `--seed N --trace`.
@main
struct QuorateSim: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "quorate-sim", abstract: "Run the real cluster on a simulated network, disk and clock.")

    @Option(help: "Run this seed only, and print its hash.")
    var seed: UInt64?

    @Option(help: "How many seeds to run.")
    var seeds: UInt64 = 20

    @Option(help: "The first of them.")
    var from: UInt64 = 1

    @Option(help: "Nodes of each cluster: 1 to 7, or mixed.")
    var nodes = "mixed"

    @Option(help: "What goes on in each world: \(WorldProfile.names); all: each seed has the next of these.")
    var profile = WorldProfile.default.rawValue

    @Option(help: "Simulated seconds in which faults strike; in more than 60, in bursts with lulls between.")
    var seconds: Int64 = 360

    @Option(help: "Processes that run at once (default: as many as there are processors).")
    var jobs: Int?

    @Option(help: "Begin no further seed after so many minutes.")
    var minutes: Int?

    @Option(help: "Plant this bug (only in a build with MUTANTS=1).")
    var mutant: String?

    @Flag(help: "Plant each bug in turn and tell how many seeds it takes to find it (only in a build with MUTANTS=1).")
    var mutants = false

    @Flag(help: "Tell one short story with a crash at each of its points, and then with two.")
    var enumerateCrashes = false

    @Option(help: "With --enumerate-crashes: how many stories with two crashes.")
    var pairs = 0

    @Option(help: "With --enumerate-crashes: one crash at each n-th point only.")
    var stride = 1

    @Option(help: "Tell the story once, with crashes at these points (as --enumerate-crashes names them).")
    var crashAt: String?

    @Option(help: "With --crash-at: 0 the process dies, 1 its machine loses power, 2 all machines do.")
    var crashKind = 0

    @Option(help: "With --mutants: write the seeds that found them to this file.")
    var record: String?

    @Option(help: "With --mutants: run only the seeds of this file, and others where one finds its bug no more.")
    var recorded: String?

    @Flag(help: "Fail when a kind of fault was never hit.")
    var demandAllFaults = false

    @Flag(help: "End with the first seed that fails.")
    var untilFailure = false

    @Flag(help: "Tell what happens, line by line (with --seed).")
    var trace = false

    @Flag(help: .hidden)
    var worker = false

    @Flag(help: "One JSON object a line instead of text.")
    var json = false

    static func main() {
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch {
            let isWrongUsage = exitCode(for: error) == .validationFailure
            let message = Array((fullMessage(for: error) + "\n").utf8)
            if message.count > 1 { write(isWrongUsage ? 2 : 1, message, message.count) }
            Glibc.exit(isWrongUsage ? 2 : exitCode(for: error).rawValue)
        }
    }

    func validate() throws {
        guard nodes == "mixed" || Int(nodes).map((1...7).contains) == true else {
            throw ValidationError("--nodes is 1 to 7, or mixed")
        }
        guard jobs.map((1...1_024).contains) ?? true else { throw ValidationError("--jobs is 1 to 1024") }
        guard minutes.map((1...100_000).contains) ?? true else { throw ValidationError("--minutes is 1 to 100000") }
        guard seeds > 0, from.addingReportingOverflow(seeds).overflow == false else {
            throw ValidationError("--seeds is at least 1, and --from and --seeds together fit into 64 bits")
        }
        guard !trace || seed != nil else { throw ValidationError("--trace needs --seed: one world is told at a time") }
        guard profile == WorldProfile.all || WorldProfile(rawValue: profile) != nil else {
            throw ValidationError("--profile: there is no \"\(profile)\"; there are \(WorldProfile.names), and all")
        }
        guard pairs >= 0, stride > 0, (0...2).contains(crashKind) else {
            throw ValidationError("--pairs is 0 or more, --stride 1 or more, --crash-kind 0, 1 or 2")
        }
        guard crashPoints != nil else { throw ValidationError("--crash-at is a list of numbers, as 12 or 12,40") }
        guard seconds > 0, seconds <= 3_600 else { throw ValidationError("--seconds is 1 to 3600") }
        if mutants || mutant != nil { try MutantHunt.validate(mutant) }
        guard mutants || record == nil && recorded == nil else {
            throw ValidationError("--record and --recorded go with --mutants")
        }
        guard record == nil || recorded == nil else { throw ValidationError("either --record or --recorded") }
    }

    func run() throws {
        #if MUTANTS
            if mutants {
                let areFound =
                    if let recorded {
                        try MutantHunt.runRecorded(at: recorded, only: mutant, asJSON: json)
                    } else {
                        try MutantHunt.run(only: mutant, recordingTo: record, asJSON: json)
                    }
                guard areFound else { throw ExitCode(1) }
                return
            }
        #endif
        MutantHunt.plant(mutant)
        if enumerateCrashes {
            announceCrashes()
            guard CrashRun.run(pairs: pairs, stride: stride, asJSON: json) else { throw ExitCode(1) }
            return
        }
        if crashAt != nil {
            announceCrashes()
            guard CrashRun.replay(crashPoints ?? [], kind: crashKind) else { throw ExitCode(1) }
            return
        }
        if worker {
            announceCrashes()
            while let line = readLine(), let number = UInt64(line) {
                limitProcessorTime()
                print(ResultLine.text(of: runOne(number)))
                fflush(nil)
            }
        } else if let seed {
            announceCrashes()
            let result = runOne(seed)
            report(result)
            if result.violation != nil { throw ExitCode(1) }
        } else {
            try runAll()
        }
    }

    private func runAll() throws {
        // A child that is gone is noticed when it is listened to.
        signal(SIGPIPE, SIG_IGN)
        var summary = Summary()
        var arguments = ["--worker", "--nodes", nodes, "--profile", profile, "--seconds", String(seconds)]
        if let mutant { arguments += ["--mutant", mutant] }
        var fleet = Fleet(arguments, seeds: from..<from + seeds, endsAtFailure: untilFailure) { result in
            summary.add(result)
            report(result)
        }
        let started = time(nil)
        try fleet.run(jobs ?? Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))) {
            minutes.map { time(nil) - started >= $0 * 60 } ?? false
        }
        summary.processorTime = ChildProcess.processorTime
        let isComplete = !demandAllFaults || summary.neverHit.isEmpty
        if !isComplete, !json {
            print("never hit: \(summary.neverHit.map(\.rawValue).joined(separator: ", "))")
        }
        summary.write(asJSON: json)
        if summary.failed > 0 || !isComplete { throw ExitCode(1) }
    }

    private func world(of seed: UInt64) -> WorldProfile {
        let profiles = WorldProfile.allCases
        return WorldProfile(rawValue: profile) ?? profiles[Int(seed % UInt64(profiles.count))]
    }

    /// Nil when they cannot be read.
    private var crashPoints: [Int]? {
        var points: [Int] = []
        for part in (crashAt ?? "").split(separator: ",") {
            guard let point = Int(part), point >= 0 else { return nil }
            points.append(point)
        }
        return points
    }

    private func runOne(_ seed: UInt64) -> Simulation.Result {
        seedUnderWay = seed
        var settings = world(of: seed).settings
        settings.nodeCount = Int(nodes) ?? 0
        settings.faultyTime = .seconds(seconds)
        return Simulation.run(seed: seed, settings: settings, trace: trace ? { print($0) } : nil)
    }

    private func ofMasters(_ result: Simulation.Result) -> String {
        guard result.registryCommands > 0 else { return "" }
        return "\(result.registryCommands) commands of masters, \(result.registryRowsRead) rows and "
            + "\(result.registryChangesTold) changes of their registry read, "
    }

    private func report(_ result: Simulation.Result) {
        let hash = hexadecimal(result.eventHash)
        if json {
            let verdict = result.violation.map { "\"violation\":\(quoted($0))," } ?? ""
            let faults = FaultKind.allCases.filter { result.faults[$0] > 0 }
                .map { "\"\($0.rawValue)\":\(result.faults[$0])" }.joined(separator: ",")
            print(
                "{\"seed\":\(result.seed),\(verdict)\"hash\":\"\(hash)\",\"nodes\":\(result.nodeCount),"
                    + "\"events\":\(result.eventCount),\"faults\":{\(faults)}}")
        } else if let violation = result.violation {
            print("seed \(result.seed) FAILED: \(violation)")
            print(
                "  replay: quorate-sim --seed \(result.seed) --nodes \(nodes) --seconds \(seconds) "
                    + "--profile \(world(of: result.seed).rawValue) --trace")
        } else if seed != nil {
            print(
                "seed \(result.seed) passed: hash \(hash), \(result.nodeCount) nodes, \(result.eventCount) events, "
                    + "\(result.entryCount) entries, \(result.mutationsAcknowledged) writes and "
                    + "\(result.readsAnswered) reads answered, \(result.outcomesUnknown) unknown, "
                    + (result.fencesUsed > 0
                        ? "\(result.fencedWritesAccepted) writes under \(result.fencesUsed) fences, "
                            + "\(result.fencedWritesRefused) under old ones refused, " : "")
                    + "\(result.watchedChanges) changes watched (\(result.historyChecked) with what was before), "
                    + "\(result.leadersSeen) leaders seen, "
                    + ofMasters(result) + "\(result.faults.total) faults")
        }
        // All streams: a run of many seeds is watched line by line.
        fflush(nil)
    }
}

func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}

/// As a JSON string.
func quoted(_ text: String) -> String {
    var result = "\""
    for character in text.unicodeScalars {
        switch character {
        case "\"", "\\": result += "\\\(character)"
        case "\n": result += "\\n"
        default: if character.value >= 32 { result.unicodeScalars.append(character) }
        }
    }
    return result + "\""
}

/// Read by a signal handler, on the one thread that there is.
nonisolated(unsafe) var seedUnderWay: UInt64 = 0

/// A seed that never ends must not hold up all others: SIGPROF stops it.
private func limitProcessorTime() {
    var timer = itimerval()
    timer.it_value.tv_sec = 600
    setitimer(__itimer_which_t(ITIMER_PROF.rawValue), &timer, nil)
}

/// A broken invariant stops the process; whoever reads its message must learn which seed it was.
func announceCrashes() {
    for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT, SIGPROF] {
        signal(number) { number in
            // Only what is safe in a handler: digits on the stack and one write.
            withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 64) { buffer in
                var count = 0
                func put(_ text: StaticString) {
                    text.withUTF8Buffer { for byte in $0 { buffer[count] = byte; count += 1 } }
                }
                put("seed ")
                var divisor: UInt64 = 1
                while seedUnderWay / divisor >= 10 { divisor *= 10 }
                while divisor > 0 {
                    buffer[count] = UInt8(48 + seedUnderWay / divisor % 10)
                    count += 1
                    divisor /= 10
                }
                put(" FAILED: it stopped the process\n")
                write(1, buffer.baseAddress, count)
            }
            _exit(1)
        }
    }
}
