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
        let output = try ChildProcess.outputOfItself(
            planted + ["--profile", profile.rawValue, "--seeds", String(seeds), "--until-failure"])
        let lines = output.split(separator: "\n").map(String.init)
        guard let line = lines.first(where: { $0.hasPrefix("seed ") && $0.contains(" FAILED: ") }),
            let seed = Int(line.dropFirst("seed ".count).prefix { $0.isNumber })
        else { return Outcome() }
        return Outcome(finding: (seed, String(line.drop { $0 != ":" }.dropFirst(2))))
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
}
