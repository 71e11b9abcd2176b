import RegistryModel
import Testing

@testable import quorate

@Suite("Resources as text")
struct RegistryNotationTests {
    private func resources(_ text: String) throws -> [Resource] {
        try ResourceNotation.parse(text).map { try $0.checked() }
    }

    private func failure(_ text: String) -> String {
        do throws(ResourceNotation.Failure) {
            let claims = try ResourceNotation.parse(text)
            return "read as \(claims.count) resources"
        } catch {
            return error.description
        }
    }

    private func role(_ name: String) -> RoleName { RoleName(unchecked: Array(name.utf8)) }

    @Test(
        "What is written as it is shown is read back, and shown alike",
        arguments: [
            "cpus:8", "cpus:0.125", "mem(db):16384", "ports:[31000-32000]", "ports:[1-1, 5-18446744073709551615]",
            "zones:{a, b}", "zones:{}", "cpus(static db):4", "cpus(static db by ops, db/eu by ops with {rack=r1, ssd}):4",
            "cpus(db with {}):1", "cpus{revocable}:2", "disk[path]:10", "disk[path /data]:200000",
            "disk(db)[path /data, volume wal at wal]:45000",
            "disk(db)[mount /mnt/ssd, volume base by ops at base]{shared}:500000",
            "disk(db)[volume v by ops at v ro from /host]:1", "disk[block id d1]:7",
            "disk[raw vendor v id i profile fast with {k=v}]{provider p1}:9", "gpus(db){allocated db}:2",
            #"cpus("static" by "a b"):1"#,
        ])
    func shownAsWritten(text: String) throws {
        let read = try resources(text)
        #expect(ResourceNotation.text(read) == text)
    }

    @Test("Several stand with semicolons between them; blanks and one semicolon more do not matter")
    func several() throws {
        let read = try resources(" cpus : 8;mem( db ):16384 ;\n ports:[7, 31000-32000]; ")
        #expect(ResourceNotation.text(read) == "cpus:8; mem(db):16384; ports:[7-7, 31000-32000]")
        #expect(try resources("cpus(dynamic db):1") == resources("cpus(db):1"))
        #expect(try resources("disk(db)[volume v at p rw]:1") == resources("disk(db)[volume v at p]:1"))
    }

    /// Words that are hard to tell from what stands around them.
    private static let words: [[UInt8]] = [
        Array("plain".utf8), Array("with blank".utf8), Array("static".utf8), Array("by".utf8), Array("a=b".utf8),
        Array("quote\"back\\slash".utf8), Array("ü, (x) [y] {z}; :".utf8), [0x00, 0x0A, 0x7F], [0xFF, 0x41, 0xC3],
        [],
    ]

    @Test("Whatever its parts are called, a resource survives being written and read")
    func everyWord() throws {
        let roles = ["static", "by", "a,b", "x(y)", "ü=\"", "path/at"].map { role($0) }
        for (number, word) in Self.words.enumerated() {
            let other = Self.words[(number + 3) % Self.words.count]
            let labels = try Labels([.init(key: word, value: other), .init(key: other, value: nil)])
            var resource = Resource(name: Array("disk".utf8), value: .scalar(try #require(Scalar(thousandths: 1_500))))
            resource.stack = [
                Reservation(
                    kind: number.isMultiple(of: 2) ? .static : .dynamic, role: roles[number % roles.count],
                    principal: word, labels: labels)
            ]
            for kind in DiskSource.Kind.allCases {
                var source = DiskSource(
                    kind: kind, vendor: word, id: other, metadata: labels, profile: Array("id".utf8))
                if kind == .path || kind == .mount { source.root = word }
                resource.disk = DiskInfo(
                    source: source, persistence: Persistence(id: RegistryID(unchecked: other), principal: word),
                    volume: VolumeMount(containerPath: word, isReadOnly: number.isMultiple(of: 2), hostPath: other))
                resource.isShared = number.isMultiple(of: 3)
                resource.allocationRole = roles[(number + 1) % roles.count]
                let text = ResourceNotation.text(resource)
                let read = try resources(text)
                #expect(read.map { $0.encoded() } == [resource.encoded()], "\(text)")
            }
        }
        let set = Resource(name: Array("ro ws".utf8), value: .set(try ItemSet(Self.words)))
        #expect(try resources(ResourceNotation.text(set)).map { $0.encoded() } == [set.encoded()])
    }

    @Test("A resource that is stated again as a claim is the same")
    func claims() throws {
        for text in [
            "cpus(static db, db/eu by ops with {a=b}):0.001", "ports{revocable}:[1-5]", "zones:{x}",
            "disk(db)[mount /m, volume v by p at c ro]{shared, provider q}:7", "disk[raw id i with {}]:3",
        ] {
            let read = try #require(try resources(text).first)
            #expect(try ResourceClaim(read).checked().encoded() == read.encoded(), "\(text)")
        }
    }

    @Test(
        "What is no resource is refused, and the message says where",
        arguments: [
            ("", "character 1: expected the name of a resource, found the end"),
            ("cpus", "character 5: expected : and an amount, found the end"),
            ("cpus:", "character 6: expected a number, [ranges] or {items}, found the end"),
            ("cpus:x", "character 6: \"x\" is no number"), ("cpus:nan", "character 6: \"nan\" is no number"),
            ("cpus(:4", "character 6: expected a role, found :"),
            ("cpus(db:4", "character 8: expected , or ), found :"),
            ("cpus(db by):4", "character 11: expected a principal, found )"),
            ("cpus(db with x):4", "character 14: expected { and labels, found \"x\""),
            ("cpus{fast}:4", "character 6: expected revocable, shared, provider or allocated, found \"fast\""),
            ("disk[foo]:1", "character 6: expected path, mount, block, raw or volume, found \"foo\""),
            ("disk[path /a, mount /b]:1", "character 15: a disk has one source"),
            ("disk[volume a, volume b]:1", "character 16: a disk is one volume"),
            ("ports:[5-]", "character 8: \"5-\" is no range, as 31000-32000"),
            ("ports:[1-2-3]", "character 8: \"1-2-3\" is no range, as 31000-32000"),
            ("cpus:4 mem:5", "character 8: expected ; or the end, found \"mem\""),
            ("cpus:4;;mem:5", "character 8: expected the name of a resource, found ;"),
            ("\"ab:1", "character 1: the closing quote is missing"),
            ("\"a\\q\":1", "character 3: only \\\", \\\\ and \\xHH can follow a backslash in quotes"),
            ("üü:x", "character 4: \"x\" is no number"),
        ])
    func failures(text: String, message: String) {
        #expect(failure(text) == message)
    }

    @Test("On the command line it is exit code 2, and names the argument")
    func usage() {
        #expect(
            throws: CommandError.usage(
                "RESOURCES, character 6: \"x\" is no number; `quorate registry resources --help` has the form")
        ) { try ResourceNotation.parse("cpus:x", of: "RESOURCES") }
    }
}
