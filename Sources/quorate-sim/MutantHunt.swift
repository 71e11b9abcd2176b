internal import ArgumentParser
internal import Basics
internal import Glibc

/// Plants each bug in turn, and sees how many seeds it takes until one fails. Each hunt is a process of its own, because
/// a broken invariant ends the process: that is a find like any other.
enum MutantHunt {
    /// A bug that this many seeds do not find is a hole in the simulator.
    private static let seedsMax = 500

    static func validate(_ name: String?) throws {
        #if MUTANTS
            guard let name, Mutant(rawValue: name) == nil else { return }
            let names = Mutant.allCases.map(\.rawValue).joined(separator: ", ")
            throw ValidationError("--mutant: there is no \"\(name)\"; there are \(names)")
        #else
            throw ValidationError("this build holds no planted bugs: build it with MUTANTS=1, as ops/mutants does")
        #endif
    }

    static func plant(_ name: String?) {
        #if MUTANTS
            unsafe Mutant.active = name.flatMap(Mutant.init)
        #endif
    }

    /// Where a bug shows soonest.
    private static func profile(for mutant: Mutant) -> WorldProfile {
        switch mutant {
        case .commitPastAppend: .swarm
        case .readFromOldRound: .network
        case .changeMembersEarly, .forgetOldMajority, .countLearners: .membership
        case .skipGuard, .lockForTwo, .keepOwnedRows, .expireAtFailover, .expireEarly, .watchSkipsBatch,
            .watchRepeatsRevision, .watchMistakesBranch:
            .clients
        default: .default
        }
    }

    /// - Returns: whether all were found, and nothing was found where there is no bug.
    static func run(asJSON: Bool) throws -> Bool {
        var found = 0
        // What is found without any bug would be taken for a find of each.
        for profile in [WorldProfile.default, .membership, .clients, .network, .swarm] {
            guard let finding = try hunt(nil, profile, seeds: 20).finding else { continue }
            print("without any mutant, seed \(finding.seed) of profile \(profile.rawValue) fails: \(finding.text)")
            return false
        }
        for mutant in Mutant.allCases {
            let profile = profile(for: mutant)
            let outcome = try hunt(mutant, profile, seeds: seedsMax)
            if outcome.finding != nil { found += 1 }
            report(mutant, profile, outcome, asJSON: asJSON)
        }
        print(asJSON
            ? "{\"found\":\(found),\"planted\":\(Mutant.allCases.count)}"
            : "\(found) of \(Mutant.allCases.count) mutants found")
        return found == Mutant.allCases.count
    }

    private struct Outcome {
        /// The seed that found it, and what it said.
        var finding: (seed: Int, text: String)?
    }

    private static func hunt(_ mutant: Mutant?, _ profile: WorldProfile, seeds: Int) throws -> Outcome {
        let planted = mutant.map { ["--mutant", $0.rawValue] } ?? []
        let output = try outputOfItself(
            planted + ["--profile", profile.rawValue, "--seeds", String(seeds), "--until-failure"])
        let lines = output.split(separator: "\n").map(String.init)
        guard let line = lines.first(where: { $0.hasPrefix("seed ") && $0.contains(" FAILED: ") }),
            let seed = Int(line.dropFirst("seed ".count).prefix { $0.isNumber })
        else { return Outcome() }
        let said = String(line.drop { $0 != ":" }.dropFirst(2))
        // A process that was stopped has said why before.
        let invariant = lines.last { $0.contains("Fatal error: ") }
        return Outcome(finding: (seed, invariant ?? said))
    }

    private static func report(_ mutant: Mutant, _ profile: WorldProfile, _ outcome: Outcome, asJSON: Bool) {
        if asJSON {
            let finding = outcome.finding.map { ",\"seeds\":\($0.seed),\"finding\":\(quoted($0.text))" } ?? ""
            print(
                "{\"mutant\":\"\(mutant.rawValue)\",\"profile\":\"\(profile.rawValue)\","
                    + "\"found\":\(outcome.finding != nil)\(finding)}")
        } else if let finding = outcome.finding {
            print("\(mutant.rawValue): found by seed \(finding.seed) of profile \(profile.rawValue): \(finding.text.prefix(160))")
        } else {
            print("\(mutant.rawValue): NOT FOUND by \(seedsMax) seeds of profile \(profile.rawValue)")
        }
        fflush(nil)
    }

    /// Runs this very program and returns what it wrote to both its streams.
    private static func outputOfItself(_ arguments: [String]) throws -> String {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw CleanExit.message("no pipe: error \(errno)") }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for stream: Int32 in [1, 2] { posix_spawn_file_actions_adddup2(&actions, ends[1], stream) }
        for end in ends { posix_spawn_file_actions_addclose(&actions, end) }
        let own = "/proc/self/exe"
        let words: [String] = [own] + arguments
        let settings: [String] = ["SWIFT_BACKTRACE=enable=no"]
        var argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        argv.append(nil)
        defer { for argument in argv { free(argument) } }
        var environment: [UnsafeMutablePointer<CChar>?] = settings.map { strdup($0) }
        environment.append(nil)
        defer { for variable in environment { free(variable) } }
        var child: pid_t = 0
        let error = posix_spawn(&child, own, &actions, nil, argv, environment)
        close(ends[1])
        defer { close(ends[0]) }
        guard error == 0 else { throw ValidationError("cannot start itself: error \(error)") }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(ends[0], &buffer, buffer.count)
            guard count > 0 else { break }
            bytes.append(contentsOf: buffer[..<count])
        }
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        return String(decoding: bytes, as: UTF8.self)
    }
}
