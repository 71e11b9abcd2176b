package import Basics
internal import Glibc

/// One way in which foreign bytes are read. A target has several; the first byte of an input says which of them gets
/// the rest.
package struct Decoder: Sendable {
    package var name: String
    /// Inputs that the project's own encoders make, without the byte that selects the decoder.
    package var seeds: @Sendable () -> [[UInt8]]
    /// Puts right what chance alone does not get past: lengths and checksums. The bytes keep their number.
    package var repair: (@Sendable ([UInt8]) -> [UInt8])?
    /// True when the bytes were accepted: a value came out, and not an error.
    package var read: @Sendable ([UInt8]) -> Bool

    package init(
        _ name: String, seeds: @escaping @Sendable () -> [[UInt8]] = { [] },
        repair: (@Sendable ([UInt8]) -> [UInt8])? = nil, read: @escaping @Sendable ([UInt8]) -> Bool
    ) {
        self.name = name
        self.seeds = seeds
        self.repair = repair
        self.read = read
    }
}

/// What all targets share: the start, the choice of the decoder, the mutator that gets past checksums, and the count of
/// what each decoder was given and has accepted. A decoder that accepts nothing has not been looked into.
package enum Fuzzer {
    // libFuzzer calls from one thread.
    nonisolated(unsafe) private static var decoders: [Decoder] = []
    nonisolated(unsafe) private static var given: [UInt64] = []
    nonisolated(unsafe) private static var accepted: [UInt64] = []

    /// Runs libFuzzer with the arguments of the command line; with `--seeds DIRECTORY` writes the seeds of all decoders
    /// there, and ends.
    package static func run(_ decoders: [Decoder]) -> Never {
        check(!decoders.isEmpty && decoders.count <= 256, "\(decoders.count) decoders behind one byte")
        self.decoders = decoders
        given = [UInt64](repeating: 0, count: decoders.count)
        accepted = given
        var arguments: [UnsafeMutablePointer<CChar>?] = CommandLine.arguments.map { strdup($0) }
        if arguments.count == 3, CommandLine.arguments[1] == "--seeds" {
            exit(writeSeeds(to: CommandLine.arguments[2]))
        }
        atexit { Fuzzer.report() }
        arguments.append(nil)
        var count = CInt(arguments.count - 1)
        let status = arguments.withUnsafeMutableBufferPointer { buffer in
            var start = buffer.baseAddress
            return runDriver(&count, &start, fuzzOne)
        }
        exit(status)
    }

    fileprivate static func feed(_ start: UnsafePointer<UInt8>?, _ count: Int) {
        guard let start, count > 0 else { return }
        let position = Int(start[0]) % decoders.count
        given[position] += 1
        let bytes = [UInt8](UnsafeBufferPointer(start: start + 1, count: count - 1))
        if decoders[position].read(bytes) { accepted[position] += 1 }
    }

    /// Three times out of four repaired: so what is tried gets past lengths and checksums, and they are tried too.
    fileprivate static func mutate(
        _ data: UnsafeMutablePointer<UInt8>, _ size: Int, _ sizeMax: Int, _ seed: CUnsignedInt
    ) -> Int {
        let selector = size > 0 ? data[0] : 0
        let size = mutateBytes(data, size, sizeMax)
        guard size > 0 else { return 0 }
        // What was found with one decoder says little about another: most mutations stay with theirs.
        if seed % 16 != 0 { data[0] = selector }
        guard seed % 4 != 0, size > 1, let repair = decoders[Int(data[0]) % decoders.count].repair else { return size }
        let bytes = UnsafeMutableBufferPointer(start: data + 1, count: size - 1)
        let repaired = repair(Array(bytes))
        check(repaired.count == bytes.count, "a repair that changed how many bytes there are")
        _ = bytes.update(fromContentsOf: repaired)
        return size
    }

    /// A line for each decoder, which `ops/fuzz` and `ops/test` read.
    private static func report() {
        for (position, decoder) in decoders.enumerated() {
            let line = "decoder: \(decoder.name): \(given[position]) given, \(accepted[position]) accepted"
            say(line)
        }
    }

    private static func say(_ line: String) {
        let bytes = Array(line.utf8) + [0x0A]
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }

    private static func writeSeeds(to directory: String) -> CInt {
        for (position, decoder) in decoders.enumerated() {
            for (number, seed) in decoder.seeds().enumerated() {
                let name = decoder.name.map { $0.isLetter || $0.isNumber ? String($0) : "-" }.joined()
                let path = "\(directory)/\(name)-\(number)"
                guard let file = fopen(path, "w") else {
                    say("cannot write \(path)")
                    return 1
                }
                let bytes = [UInt8(position)] + seed
                let written = fwrite(bytes, 1, bytes.count, file)
                guard fclose(file) == 0, written == bytes.count else { return 1 }
            }
        }
        return 0
    }
}

/// A property that every input must have. Unlike `precondition` it says in an optimised build too what is wrong.
package func check(_ condition: Bool, _ message: @autoclosure () -> String = "a property does not hold") {
    if !condition { fail(message()) }
}

package func fail(_ message: String) -> Never { fatalError(message) }

/// Reads the front of the bytes with `body`; false when it throws.
package func accepts(_ bytes: [UInt8], _ body: (inout ByteReader) throws -> Void) -> Bool {
    var reader = ByteReader(bytes.rawSpan)
    do {
        try body(&reader)
        return true
    } catch {
        return false
    }
}

/// What was read has one meaning: written and read again it is the same.
///
/// - Returns: false when the bytes are not read at all.
package func roundTrip<T: Equatable>(
    _ bytes: [UInt8], read: (inout ByteReader) throws -> T, write: (T, inout ByteWriter) -> Void
) -> Bool {
    var value: T?
    guard accepts(bytes, { value = try read(&$0) }), let value else { return false }
    var writer = ByteWriter()
    write(value, &writer)
    let written = writer.takeBytes()
    var again: T?
    guard accepts(written, { again = try read(&$0) }) else {
        fail("what was read and written cannot be read again: \(value)")
    }
    check(again == value, "\(value) became \(String(describing: again))")
    return true
}

package func written(_ body: (inout ByteWriter) -> Void) -> [UInt8] {
    var writer = ByteWriter()
    body(&writer)
    return writer.takeBytes()
}

/// An input that is taken apart into small choices: what is missing at its end is zero.
package struct Choices {
    private var rest: ArraySlice<UInt8>

    package init(_ bytes: [UInt8]) { rest = bytes[...] }

    package var isAtEnd: Bool { rest.isEmpty }

    package mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }

    package mutating func below(_ bound: Int) -> Int { Int(byte()) % bound }

    /// Bytes behind their number, which two bytes say; as many as there are.
    package mutating func bytes() -> [UInt8] {
        let count = Int(byte()) | Int(byte()) << 8
        defer { rest = rest.dropFirst(count) }
        return Array(rest.prefix(count))
    }

    package mutating func remaining() -> [UInt8] {
        defer { rest = [] }
        return Array(rest)
    }

    /// The mirror of `bytes()`.
    package static func sized(_ bytes: [UInt8]) -> [UInt8] {
        [UInt8(truncatingIfNeeded: bytes.count), UInt8(truncatingIfNeeded: bytes.count >> 8)] + bytes
    }
}

// MARK: - libFuzzer

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOne(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    Fuzzer.feed(start, count)
    return 0
}

@_cdecl("LLVMFuzzerCustomMutator")
public func mutateOne(_ data: UnsafeMutablePointer<UInt8>, _ size: Int, _ sizeMax: Int, _ seed: CUnsignedInt) -> Int {
    Fuzzer.mutate(data, size, sizeMax, seed)
}

@_silgen_name("LLVMFuzzerMutate")
func mutateBytes(_: UnsafeMutablePointer<UInt8>, _: Int, _: Int) -> Int

@_silgen_name("LLVMFuzzerRunDriver")
func runDriver(
    _: UnsafeMutablePointer<CInt>, _: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt
