import Basics
import Disk
import LogFormat
import LogStore
import MetadataMachine
import MetadataModel
import RaftCore
import StateEngine
import Wire

/// What happens to a write on its way through a node, a part each: puts of 256 bytes under keys of 16, ten to a slab, of one
/// session. One unit of each is one put. What is prepared costs the same for any count.
enum Workload: String, CaseIterable {
    /// A client's frame: checked, taken apart, validated.
    case decode
    /// The command copied into a slab, and the slab into the log.
    case append
    /// The slab through three cores: proposed, acknowledged, committed, applied.
    case step
    /// The slab applied to a state in memory, which answers.
    case apply
    /// The frame of the reply.
    case encode

    func run(_ count: Int, in directory: String) throws {
        let slabCount = count / Self.slabSize
        switch self {
        case .decode: try Self.decode(slabCount)
        case .append: try Self.append(slabCount, in: directory)
        case .step: Self.step(slabCount)
        case .apply: try Self.apply(slabCount)
        case .encode: Self.encode(slabCount)
        }
    }

    private static let slabSize = 10
    private static let keyCount: UInt64 = 1_000
    private static let salt: UInt32 = 7
    private static let startTime = ClusterTime(nanoseconds: 1_700_000_000_000_000_000)

    // MARK: Puts

    /// Puts that follow one another.
    private struct Puts {
        private var sequence: UInt64 = 0
        private var key = Array("guard/0000000000".utf8)
        private let value = [UInt8](repeating: 0x5A, count: 256)

        mutating func next(into writer: inout ByteWriter) {
            sequence += 1
            var rest = sequence % keyCount
            for position in stride(from: key.count - 1, to: key.count - 5, by: -1) {
                key[position] = UInt8(ascii: "0") + UInt8(rest % 10)
                rest /= 10
            }
            let opening = sequence == 1 ? SessionOpening(openedAt: startTime, timeout: .seconds(10)) : nil
            let header = CommandHeader(
                kind: .put, session: SessionID(1, 2), sequence: sequence, acknowledgedThrough: sequence - 1, opening: opening)
            header.encode(into: &writer)
            Mutation.put(key: key, value: value).encodeBody(into: &writer)
        }
    }

    private struct Slabs {
        private var puts = Puts()
        private var next = LogIndex(1)

        mutating func make() -> Slab {
            var builder = SlabBuilder(term: Term(1), firstIndex: next, salt: salt)
            for _ in 0..<slabSize {
                var writer = ByteWriter()
                puts.next(into: &writer)
                let command = writer.takeBytes()
                builder.append(.command, payload: command.rawSpan, time: startTime)
            }
            next = builder.nextIndex
            guard let slab = builder.close() else { fatalError("a slab of nothing") }
            return slab
        }
    }

    // MARK: Parts

    private static func decode(_ slabCount: Int) throws {
        var writer = ByteWriter()
        var puts = Puts()
        for requestID in 1...UInt64(slabSize) {
            ClientRequest.encodeMutation(requestID: requestID, mayForward: true, into: &writer) { puts.next(into: &$0) }
        }
        let received = writer.takeBytes()
        for _ in 0..<slabCount {
            var offset = 0
            while let frame = try FrameHeader.scan(
                received.rawSpan.extracting(offset..<received.count), sizeMax: Limits.frameSizeMaxDefault)
            {
                offset += frame.totalSize
                try validate(frame.header, frame.body)
            }
        }
    }

    private static func validate(_ header: FrameHeader, _ body: RawSpan) throws {
        let request = try ClientRequest.decode(header, body: body)
        switch request {
        case .mutate(let command, _): try Command.validate(command)
        default: fatalError("a put is taken for something else")
        }
    }

    private static func append(_ slabCount: Int, in directory: String) throws {
        let (log, _) = try SegmentedLog.open(
            fileSystem: PosixFileSystem(), directory: directory, salt: salt, nodeID: NodeID(1), settings: LogSettings(),
            verifyFrom: .zero, acceptingDamage: false)
        let hardState = HardState(currentTerm: Term(1), votedFor: nil)
        var slabs = Slabs()
        for _ in 0..<slabCount { try log.append([LogTask(hardState: hardState, slab: slabs.make())]) }
    }

    private static func step(_ slabCount: Int) {
        var cores = ThreeCores()
        for _ in 0..<slabCount { cores.commit(slabSize) }
    }

    private static func apply(_ slabCount: Int) throws {
        let machine = try Machine(engine: MemoryEngine(), node: NodeID(1))
        var slabs = Slabs()
        for _ in 0..<slabCount {
            let slab = slabs.make()
            _ = try machine.apply([slab], in: slab.indexes)
        }
    }

    private static func encode(_ slabCount: Int) {
        for slab in 0..<UInt64(slabCount) {
            var writer = ByteWriter()
            for position in 0..<UInt64(slabSize) {
                let number = slab * UInt64(slabSize) + position
                let start = ClientReply.begin(.mutate, requestID: number, into: &writer)
                Reply.writeSuccess(revision: LogIndex(number), into: &writer)
                writer.endFrame(start)
            }
            _ = writer.takeBytes()
        }
    }
}
