internal import Glibc
internal import Simulator

#if MUTANTS
    /// A bug that was planted, and the seed that found it; one line of the file that records them all.
    struct MutantFind {
        var mutant: String
        var profile: WorldProfile
        /// Seeds are tried from 1 on, so it is also how many it took.
        var seed: Int
        var text: String

        private static let head = """
            # Written by `ops/mutants --record`: bug, profile, seed that found it (of seeds tried from 1 on), what it said.

            """

        init(mutant: String, profile: WorldProfile, seed: Int, text: String) {
            self.mutant = mutant
            self.profile = profile
            self.seed = seed
            self.text = text
        }

        private init?(line: Substring) {
            let parts = line.split(separator: "\t", maxSplits: 3)
            guard parts.count == 4, let profile = WorldProfile(rawValue: String(parts[1])), let seed = Int(parts[2]),
                seed > 0
            else { return nil }
            self.init(mutant: String(parts[0]), profile: profile, seed: seed, text: String(parts[3]))
        }

        private var line: String {
            let said = text.split(whereSeparator: { $0 == "\t" || $0 == "\n" }).joined(separator: " ")
            return "\(mutant)\t\(profile.rawValue)\t\(seed)\t\(said.prefix(160))\n"
        }

        static func load(from path: String) throws -> [MutantFind] {
            guard let file = fopen(path, "r") else { throw HuntError(description: "cannot read \(path): error \(errno)") }
            defer { fclose(file) }
            var bytes: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 65_536)
            while true {
                let count = fread(&buffer, 1, buffer.count, file)
                guard count > 0 else { break }
                bytes.append(contentsOf: buffer[..<count])
            }
            return try String(decoding: bytes, as: UTF8.self).split(separator: "\n").filter { !$0.hasPrefix("#") }.map {
                guard let find = MutantFind(line: $0) else { throw HuntError(description: "\(path): not a find: \($0)") }
                return find
            }
        }

        static func store(_ finds: [MutantFind], at path: String) throws {
            let text = Array((head + finds.map(\.line).joined()).utf8)
            guard let file = fopen(path, "w") else { throw HuntError(description: "cannot write \(path): error \(errno)") }
            let written = fwrite(text, 1, text.count, file)
            guard fclose(file) == 0, written == text.count else {
                throw HuntError(description: "cannot write \(path): error \(errno)")
            }
        }
    }
#endif
