import Client
import Foundation
import Testing

@testable import quorate

@Suite("Import files")
struct ImportTests {
    private func withFile<T>(_ text: String, _ body: (ImportFile) async throws -> T) async throws -> T {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("import-\(UUID().uuidString)").path
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try await body(try ImportFile(path: path))
    }

    private func line(_ key: Int, _ value: String = "v") -> String { #"{"key":"k\#(key)","value":"\#(value)"}"# }

    @Test("The hash names the content, and lines are counted with or without an end of the last")
    func summary() async throws {
        let ended = try await withFile("\(line(1))\n\(line(2))\n") { try $0.summarize() }
        let open = try await withFile("\(line(1))\n\(line(2))") { try $0.summarize() }
        #expect(ended.lineCount == 2)
        #expect(open.lineCount == 2)
        #expect(ended.hash != open.hash)
        #expect(ended.hash.count == 64)
        let empty = try await withFile("") { try $0.summarize() }
        #expect(empty.lineCount == 0)
        #expect(empty.hash == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    }

    @Test("A batch has at most 1,000 lines, and together they are the file")
    func batches() async throws {
        let text = (0..<2_500).map { line($0) + "\n" }.joined()
        var batches: [ImportBatch] = []
        try await withFile(text) { file in
            try await file.forEachBatch(from: 0) { batch in
                batches.append(batch)
                return batch.end
            }
        }
        #expect(batches.map(\.lineCount) == [1_000, 1_000, 500])
        #expect(batches.map(\.firstLine) == [0, 1_000, 2_000])
        #expect(
            batches.flatMap(\.records).map { String(decoding: $0.key, as: UTF8.self) } == (0..<2_500).map { "k\($0)" })
    }

    @Test("Large values make smaller batches, and a second record of one key waits for the next")
    func batchBounds() async throws {
        let large = String(repeating: "x", count: 400_000)
        var counts: [Int] = []
        try await withFile(
            [line(1, large), line(2, large), line(3, large), line(4), line(4), line(4)].joined(separator: "\n")
        ) { file in
            try await file.forEachBatch(from: 0) { batch in
                counts.append(batch.lineCount)
                return batch.end
            }
        }
        #expect(counts == [2, 2, 1, 1])
    }

    @Test("An import goes on at the line where another has left off, in the middle of its own batches too")
    func resumes() async throws {
        let text = (0..<3_000).map { line($0) + "\n" }.joined()
        var starts: [Int] = []
        var lines: [Int] = []
        try await withFile(text) { file in
            try await file.forEachBatch(from: 123) { batch in
                starts.append(batch.firstLine)
                lines.append(batch.lineCount)
                return starts.count == 1 ? 2_000 : batch.end
            }
        }
        #expect(starts == [123, 2_000])
        #expect(lines == [1_000, 1_000])
    }

    @Test("Empty lines count as lines and store nothing; a bad line is named by its number")
    func oddLines() async throws {
        var records = 0
        try await withFile("\n \(line(1)) \r\n\n") { file in
            try await file.forEachBatch(from: 0) { batch in
                records += batch.records.count
                #expect(batch.lineCount == 3)
                return batch.end
            }
        }
        #expect(records == 1)
        for bad in [
            #"{"key":"a"}"#, #"{"value":"a"}"#, "[]", #"{"key":"a","value":"b"} x"#, #"{"key":"a","value":"b","c":1}"#,
        ] {
            let error = await #expect(throws: CommandError.self) {
                try await withFile("\(line(1))\n\(bad)\n") { file in try await file.forEachBatch(from: 0) { $0.end } }
            }
            #expect(error?.message.contains(", line 2: ") == true, "\(bad)")
        }
    }

    @Test("Each transaction moves the progress row from where it stands, and only from there")
    func transaction() {
        var batch = ImportBatch(firstLine: 10)
        batch.add(ImportBatch.Record(key: [1], value: [2]))
        batch.add(nil)
        let first = Importer.transaction(batch, progressKey: [9], done: nil)
        #expect(first.conditions == [.exists(key: [9], false)])
        let later = Importer.transaction(batch, progressKey: [9], done: 10)
        #expect(later.conditions == [.value(key: [9], Array("10".utf8))])
        #expect(later.then == [.put(key: [1], value: [2]), .put(key: [9], value: Array("12".utf8))])
        #expect(later.otherwise.isEmpty)
    }

    @Test("Rows that the command keeps for itself may appear only under prefixes that do not ask for them")
    func reservedKeys() {
        #expect(ReservedKeys.mayAppear(under: []))
        #expect(ReservedKeys.mayAppear(under: [0]))
        #expect(!ReservedKeys.mayAppear(under: ReservedKeys.prefix))
        #expect(!ReservedKeys.mayAppear(under: Array("usr/".utf8)))
        #expect(ReservedKeys.importProgress(hash: "ab").starts(with: ReservedKeys.prefix))
    }

    @Test("The bar shows what is done, how fast, and how long it will take")
    func progressBar() {
        #expect(
            ProgressBar.text(title: "import", done: 500, total: 1_000, rate: 250)
                == "import  [###############...............] 50 %  500 of 1000  250 per s  2 s left")
        #expect(ProgressBar.text(title: "export", done: 5, total: nil, rate: 0) == "export  5  0 per s")
    }
}
