import Foundation
import Testing

/// The one style-like thing that a test checks: a pure room stays a function of its inputs.
@Suite("House")
struct HouseTests {
    private static let sources = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().appending(path: "Sources")

    static let pureRooms = [
        "Basics", "LogFormat", "RaftCore", "MetadataModel", "StateEngine", "MetadataMachine", "Wire", "ReplicaCore",
        "ClientCore", "RegistryModel", "RegistryMachine",
    ]

    private static let forbiddenModules: Set<String> = [
        "Glibc", "Musl", "Darwin", "Foundation", "FoundationEssentials", "Dispatch", "NIO", "NIOCore", "NIOPosix",
        "Synchronization",
    ]

    /// Words that bring in time, chance or concurrency behind the back of the one who calls.
    nonisolated(unsafe) private static let forbiddenWords: [(what: String, pattern: Regex<Substring>)] = [
        ("Task", /\bTask\b\s*[.{(]/),
        ("a wall clock", /\bDate\(\)/),
        ("a clock", /(?:ContinuousClock|SuspendingClock|\bClock)\b.*\.now\b/),
        ("system randomness", /SystemRandomNumberGenerator|\.random\(in: [^,)]*\)|\.randomElement\(\)|\.shuffled\(\)/),
        ("async", /\basync\b|\bawait\b/),
    ]

    private static func files(of room: String) throws -> [URL] {
        let enumerator = FileManager.default.enumerator(
            at: sources.appending(path: room), includingPropertiesForKeys: nil)
        let found = (enumerator?.allObjects as? [URL] ?? []).filter { $0.pathExtension == "swift" }
        try #require(!found.isEmpty, "no source file found for \(room)")
        return found
    }

    /// Source lines without comments and without what stands in string literals.
    private static func code(of file: URL) throws -> [(number: Int, text: String)] {
        try String(contentsOf: file, encoding: .utf8).split(separator: "\n", omittingEmptySubsequences: false)
            .enumerated()
            .map { (number: $0.offset + 1, text: String($0.element)) }
            .filter { !$0.text.trimmingCharacters(in: .whitespaces).hasPrefix("//") }
            .map { line in
                let text = line.text.replacing(/"[^"]*"/, with: "\"\"")
                return (number: line.number, text: text.components(separatedBy: "//")[0])
            }
    }

    @Test("a pure room imports nothing that reaches the world", arguments: pureRooms)
    func pureRoomImports(room: String) throws {
        for file in try Self.files(of: room) {
            for line in try Self.code(of: file) {
                guard let match = line.text.firstMatch(of: /\bimport\s+(?:\w+\s+)?(\w+)/) else { continue }
                #expect(
                    !Self.forbiddenModules.contains(String(match.1)),
                    "\(room)/\(file.lastPathComponent):\(line.number) imports \(match.1)")
            }
        }
    }

    @Test("a pure room knows no clock, no chance and no task of its own", arguments: pureRooms)
    func pureRoomWords(room: String) throws {
        for file in try Self.files(of: room) {
            for line in try Self.code(of: file) {
                for word in Self.forbiddenWords {
                    #expect(
                        line.text.firstMatch(of: word.pattern) == nil,
                        "\(room)/\(file.lastPathComponent):\(line.number) uses \(word.what): \(line.text)")
                }
            }
        }
    }
}
