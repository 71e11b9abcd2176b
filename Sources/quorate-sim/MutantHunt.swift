internal import ArgumentParser
internal import Basics
internal import Glibc
internal import Simulator

/// Plants each bug in turn, and sees how many seeds it takes until one fails. Each hunt is a process of its own, because
/// a broken invariant ends the process: that is a find like any other.
enum MutantHunt {
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
}

#if MUTANTS
    struct HuntError: Error, CustomStringConvertible {
        var description: String
    }

    extension MutantHunt {
        /// A bug that this many seeds do not find is a hole in the simulator.
        private static let seedsMax = 500
        /// How far is searched where a recorded seed finds its bug no more.
        private static let seedsAnewMax = 120

        /// Where a bug shows soonest.
        private static func profile(for mutant: Mutant) -> WorldProfile {
            switch mutant {
            case .commitPastAppend: .swarm
            case .readFromOldRound: .network
            case .changeMembersEarly, .forgetOldMajority, .countLearners: .membership
            case .skipGuard, .lockForTwo, .keepOwnedRows, .expireAtFailover, .expireEarly, .watchSkipsBatch,
                .watchRepeatsRevision, .watchMistakesBranch, .watchShowsWrongBefore:
                .clients
            case .acceptDamagedChunk, .restoreReusesRevisions: .restore
            case .ignorePendingLimit: .limits
            default: .default
            }
        }

        /// What is found without any bug would be taken for a find of each.
        private static let profilesWithoutBug: [WorldProfile] = [
            .default, .membership, .clients, .network, .swarm, .restore, .limits,
        ]
        /// Faults strike for as long as this in each world of a hunt, whatever other runs do.
        private static let faultySeconds = 20

        /// Hunts for every bug, or for the one named, from the first seed on.
        /// - Parameter path: where the finds are written down, if they are.
        /// - Returns: whether all were found, and nothing was found where there is no bug.
        static func run(only name: String?, recordingTo path: String?, asJSON: Bool) throws -> Bool {
            let wanted = mutants(named: name)
            for profile in profilesWithoutBug where name == nil {
                guard let finding = try hunt(nil, profile, from: 1, seeds: 20) else { continue }
                print("without any mutant, seed \(finding.seed) of profile \(profile.rawValue) fails: \(finding.text)")
                return false
            }
            var finds: [MutantFind] = []
            for mutant in wanted {
                let profile = profile(for: mutant)
                if let finding = try hunt(mutant, profile, from: 1, seeds: seedsMax) {
                    let find = MutantFind(
                        mutant: mutant.rawValue, profile: profile, seed: finding.seed, text: finding.text)
                    // One that fails without the bug has found something else.
                    if let own = try hunt(nil, profile, from: finding.seed, seeds: 1) {
                        print("without any mutant, seed \(own.seed) of profile \(profile.rawValue) fails: \(own.text)")
                        return false
                    }
                    finds.append(find)
                    report(find, "found", asJSON: asJSON)
                } else {
                    reportMissing(mutant, "by \(seedsMax) seeds of profile \(profile.rawValue)", asJSON: asJSON)
                }
            }
            if let path, finds.count == wanted.count {
                // Of those that were not asked for, what was recorded before stays.
                let others = name == nil ? [] : ((try? MutantFind.load(from: path)) ?? [])
                let all = finds + others.filter { other in !finds.contains { $0.mutant == other.mutant } }
                let order = Mutant.allCases.map(\.rawValue)
                try MutantFind.store(order.compactMap { mutant in all.first { $0.mutant == mutant } }, at: path)
            }
            return conclude(finds.count, of: wanted.count, asJSON: asJSON)
        }

        /// Plants each bug in the seed that has found it once. Where the worlds have changed since, others are tried.
        static func runRecorded(at path: String, only name: String?, asJSON: Bool) throws -> Bool {
            let recorded = try MutantFind.load(from: path)
            let wanted = mutants(named: name)
            var found = 0
            var checked: [(profile: WorldProfile, seed: Int)] = []
            for mutant in wanted {
                let record = recorded.first { $0.mutant == mutant.rawValue }
                let profile = record?.profile ?? profile(for: mutant)
                var find: MutantFind?
                if let seed = record?.seed, let finding = try hunt(mutant, profile, from: seed, seeds: 1) {
                    let now = MutantFind(
                        mutant: mutant.rawValue, profile: profile, seed: finding.seed, text: finding.text)
                    find = now
                    report(now, "found", asJSON: asJSON)
                } else if let finding = try hunt(mutant, profile, from: 1, seeds: seedsAnewMax) {
                    let now = MutantFind(
                        mutant: mutant.rawValue, profile: profile, seed: finding.seed, text: finding.text)
                    find = now
                    let reason = record.map { "no longer by seed \($0.seed), but" } ?? "not recorded, but found"
                    report(now, reason, asJSON: asJSON)
                } else {
                    reportMissing(mutant, "by its recorded seed nor by \(seedsAnewMax) others", asJSON: asJSON)
                }
                guard let find else { continue }
                found += 1
                guard !checked.contains(where: { $0 == (find.profile, find.seed) }) else { continue }
                checked.append((find.profile, find.seed))
                if let own = try hunt(nil, find.profile, from: find.seed, seeds: 1) {
                    print("without any mutant, seed \(own.seed) of profile \(profile.rawValue) fails: \(own.text)")
                    return false
                }
            }
            return conclude(found, of: wanted.count, asJSON: asJSON)
        }

        private static func mutants(named name: String?) -> [Mutant] {
            name.flatMap(Mutant.init).map { [$0] } ?? Mutant.allCases
        }

        /// From `seed` on, until one fails.
        private static func hunt(
            _ mutant: Mutant?, _ profile: WorldProfile, from seed: Int, seeds: Int
        ) throws -> (seed: Int, text: String)? {
            let planted = mutant.map { ["--mutant", $0.rawValue] } ?? []
            let output = try ChildProcess.outputOfItself(
                planted + [
                    "--profile", profile.rawValue, "--from", String(seed), "--seeds", String(seeds), "--until-failure",
                    "--seconds", String(faultySeconds),
                ])
            let lines = output.split(separator: "\n").map(String.init)
            guard let line = lines.first(where: { $0.hasPrefix("seed ") && $0.contains(" FAILED: ") }),
                let found = Int(line.dropFirst("seed ".count).prefix { $0.isNumber })
            else {
                // Whoever ended without a word has not passed.
                guard lines.contains(where: { $0.hasSuffix(" passed, 0 failed") }) else {
                    throw HuntError(
                        description: "seeds from \(seed) of profile \(profile.rawValue) ended early: "
                            + output.suffix(400))
                }
                return nil
            }
            return (found, String(line.drop { $0 != ":" }.dropFirst(2)))
        }

        private static func report(_ find: MutantFind, _ how: String, asJSON: Bool) {
            if asJSON {
                print(
                    "{\"mutant\":\"\(find.mutant)\",\"profile\":\"\(find.profile.rawValue)\",\"found\":true,"
                        + "\"seed\":\(find.seed),\"finding\":\(quoted(find.text))}")
            } else {
                print(
                    "\(find.mutant): \(how) by seed \(find.seed) of profile \(find.profile.rawValue): "
                        + "\(find.text.prefix(160))")
            }
            fflush(nil)
        }

        private static func reportMissing(_ mutant: Mutant, _ where: String, asJSON: Bool) {
            print(asJSON
                ? "{\"mutant\":\"\(mutant.rawValue)\",\"found\":false}"
                : "\(mutant.rawValue): NOT FOUND \(`where`)")
            fflush(nil)
        }

        private static func conclude(_ found: Int, of planted: Int, asJSON: Bool) -> Bool {
            print(asJSON
                ? "{\"found\":\(found),\"planted\":\(planted)}"
                : "\(found) of \(planted) mutants found")
            return found == planted
        }
    }
#endif
