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

    @Option(help: "Nodes of each cluster: 3, 5 or mixed.")
    var nodes = "mixed"

    @Option(help: "What goes on in each world: \(WorldProfile.names).")
    var profile = WorldProfile.default.rawValue

    @Option(help: "Simulated seconds in which faults strike.")
    var seconds: Int64 = 20

    @Option(help: "Plant this bug (only in a build with MUTANTS=1).")
    var mutant: String?

    @Flag(help: "Plant each bug in turn and tell how many seeds it takes to find it (only in a build with MUTANTS=1).")
    var mutants = false

    @Option(help: "With --mutants: write the seeds that found them to this file.")
    var record: String?

    @Option(help: "With --mutants: run only the seeds of this file, and others where one finds its bug no more.")
    var recorded: String?

    @Flag(help: "End with the first seed that fails.")
    var untilFailure = false

    @Flag(help: "Tell what happens, line by line.")
    var trace = false

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
        guard ["3", "5", "mixed"].contains(nodes) else { throw ValidationError("--nodes is 3, 5 or mixed") }
        guard WorldProfile(rawValue: profile) != nil else {
            throw ValidationError("--profile: there is no \"\(profile)\"; there are \(WorldProfile.names)")
        }
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
        announceCrashes()
        let isOne = seed != nil
        let first = seed ?? from
        let count = isOne ? 1 : seeds
        var summary = Summary()
        for number in first..<first + count {
            let result = runOne(number)
            summary.add(result)
            // One seed in ten runs twice: the same seed must give the same events.
            if !isOne, number % 10 == 0, result.violation == nil {
                let again = runOne(number)
                if again.eventHash != result.eventHash { summary.addNondeterministic(number) }
            }
            report(result, isOne: isOne)
            if untilFailure, summary.failed > 0 { break }
        }
        if !isOne { summary.write(asJSON: json) }
        if summary.failed > 0 { throw ExitCode(1) }
    }

    private func runOne(_ seed: UInt64) -> Simulation.Result {
        seedUnderWay = seed
        var settings = (WorldProfile(rawValue: profile) ?? .default).settings
        settings.nodeCount = Int(nodes) ?? 0
        settings.faultyTime = .seconds(seconds)
        return Simulation.run(seed: seed, settings: settings, trace: trace ? { print($0) } : nil)
    }

    private func report(_ result: Simulation.Result, isOne: Bool) {
        let hash = hexadecimal(result.eventHash)
        if json {
            let verdict = result.violation.map { "\"violation\":\(quoted($0))," } ?? ""
            print("{\"seed\":\(result.seed),\(verdict)\"hash\":\"\(hash)\",\"events\":\(result.eventCount)}")
        } else if let violation = result.violation {
            print("seed \(result.seed) FAILED: \(violation)")
            print(
                "  replay: quorate-sim --seed \(result.seed) --nodes \(nodes) --seconds \(seconds) --profile \(profile) "
                    + "--trace")
        } else if isOne {
            print(
                "seed \(result.seed) passed: hash \(hash), \(result.nodeCount) nodes, \(result.eventCount) events, "
                    + "\(result.entryCount) entries, \(result.mutationsAcknowledged) writes and "
                    + "\(result.readsAnswered) reads answered, \(result.outcomesUnknown) unknown, "
                    + (result.fencesUsed > 0
                        ? "\(result.fencedWritesAccepted) writes under \(result.fencesUsed) fences, "
                            + "\(result.fencedWritesRefused) under old ones refused, " : "")
                    + "\(result.watchedChanges) changes watched (\(result.historyChecked) with what was before), "
                    + "\(result.leadersSeen) leaders seen, \(result.faults.total) faults")
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

/// A broken invariant stops the process; whoever reads its message must learn which seed it was.
func announceCrashes() {
    for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT] {
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
