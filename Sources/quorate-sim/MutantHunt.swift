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
            case .readFromOldRound: .network
            case .changeMembersEarly, .forgetOldMajority, .countLearners: .membership
            case .skipGuard, .lockForTwo, .keepOwnedRows, .expireAtFailover, .expireEarly, .watchSkipsBatch,
                .watchRepeatsRevision, .watchMistakesBranch, .watchShowsWrongBefore:
                .clients
            case .loseReservation, .bookMountTwice, .applyOperationAgain, .skipMastersFence: .registry
            case .acceptDamagedChunk, .restoreReusesRevisions: .restore
            case .ignorePendingLimit: .limits
            case .cutDamagedMiddle, .campaignWhileDamaged, .voteWhileDamaged, .voteAfterLostHardState: .storage
            default: .default
            }
        }

        /// What is found without any bug would be taken for a find of each.
        private static let profilesWithoutBug: [WorldProfile] = [
            .default, .membership, .clients, .network, .storage, .swarm, .restore, .limits, .registry,
        ]
        /// Faults strike for as long as this in each world of a hunt, whatever other runs do.
        private static let faultySeconds = 20

        /// Hunts for every bug, or for the one named, from the first seed on.
        /// - Parameter path: where the finds are written down, if they are.
        /// - Returns: whether all were found, and nothing was found where there is no bug.
        static func run(only name: String?, recordingTo path: String?, asJSON: Bool) throws -> Bool {
            let wanted = mutants(named: name)
            if name == nil {
                guard try areSound(profilesWithoutBug.map { Hunt(nil, $0, from: 1, seeds: 20) }) else { return false }
            }
            var finds: [MutantFind] = []
            for mutant in wanted {
                let profile = profile(for: mutant)
                guard let find = try finding(of: Hunt(mutant, profile, from: 1, seeds: seedsMax)) else {
                    reportMissing(mutant, "by \(seedsMax) seeds of profile \(profile.rawValue)", asJSON: asJSON)
                    continue
                }
                // One that fails without the bug has found something else.
                guard try areSound([Hunt(nil, profile, from: find.seed, seeds: 1)]) else { return false }
                finds.append(find)
                report(find, "found", asJSON: asJSON)
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
            let wanted = mutants(named: name).map { mutant in (mutant, recorded.first { $0.mutant == mutant.rawValue }) }
            let known = wanted.compactMap { mutant, record in
                record.map { Hunt(mutant, $0.profile, from: $0.seed, seeds: 1) }
            }
            var outcomes = try findings(of: known)[...]
            var finds: [MutantFind] = []
            for (mutant, record) in wanted {
                if record != nil, let finding = outcomes.removeFirst() {
                    finds.append(finding)
                    report(finding, "found", asJSON: asJSON)
                    continue
                }
                let profile = record?.profile ?? profile(for: mutant)
                guard let finding = try finding(of: Hunt(mutant, profile, from: 1, seeds: seedsAnewMax)) else {
                    let tried = record == nil ? "by" : "by its recorded seed nor by"
                    reportMissing(mutant, "\(tried) \(seedsAnewMax) of profile \(profile.rawValue)", asJSON: asJSON)
                    continue
                }
                finds.append(finding)
                let reason = record.map { "no longer by seed \($0.seed), but" } ?? "not recorded, but found"
                report(finding, reason, asJSON: asJSON)
            }
            // What fails without any bug has found something else.
            var sound: [Hunt] = []
            for find in finds {
                let hunt = Hunt(nil, find.profile, from: find.seed, seeds: 1)
                if !sound.contains(hunt) { sound.append(hunt) }
            }
            guard try areSound(sound) else { return false }
            return conclude(finds.count, of: wanted.count, asJSON: asJSON)
        }

        private static func mutants(named name: String?) -> [Mutant] {
            name.flatMap(Mutant.init).map { [$0] } ?? Mutant.allCases
        }

        /// Seeds from one on, until one fails.
        private struct Hunt: Equatable {
            var mutant: Mutant?
            var profile: WorldProfile
            var from: Int
            var seeds: Int

            init(_ mutant: Mutant?, _ profile: WorldProfile, from: Int, seeds: Int) {
                self.mutant = mutant
                self.profile = profile
                self.from = from
                self.seeds = seeds
            }

            var arguments: [String] {
                (mutant.map { ["--mutant", $0.rawValue] } ?? []) + [
                    "--profile", profile.rawValue, "--from", String(from), "--seeds", String(seeds), "--until-failure",
                    "--seconds", String(faultySeconds),
                ]
            }

            /// What its output says was found.
            func finding(in output: String) throws -> MutantFind? {
                let lines = output.split(separator: "\n").map(String.init)
                guard let line = lines.first(where: { $0.hasPrefix("seed ") && $0.contains(" FAILED: ") }),
                    let seed = Int(line.dropFirst("seed ".count).prefix { $0.isNumber })
                else {
                    // Whoever ended without a word has not passed.
                    guard lines.contains(where: { $0.hasSuffix(" passed, 0 failed") }) else {
                        throw HuntError(
                            description: "seeds from \(from) of profile \(profile.rawValue) ended early: "
                                + output.suffix(400))
                    }
                    return nil
                }
                let text = String(line.drop { $0 != ":" }.dropFirst(2))
                return MutantFind(mutant: mutant?.rawValue ?? "", profile: profile, seed: seed, text: text)
            }
        }

        private static func finding(of hunt: Hunt) throws -> MutantFind? {
            try hunt.finding(in: ChildProcess.outputOfItself(hunt.arguments))
        }

        /// The same of several, as many at once as there are processors: each runs one seed, and so needs one of them.
        private static func findings(of hunts: [Hunt]) throws -> [MutantFind?] {
            try ChildProcess.outputs(
                of: hunts.map(\.arguments), atOnce: Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))
            ).enumerated().map { try hunts[$0.offset].finding(in: $0.element) }
        }

        /// Whether nothing is found where no bug is planted.
        private static func areSound(_ hunts: [Hunt]) throws -> Bool {
            let finds = try findings(of: hunts).compactMap(\.self)
            for find in finds {
                print("without any mutant, seed \(find.seed) of profile \(find.profile.rawValue) fails: \(find.text)")
            }
            return finds.isEmpty
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
