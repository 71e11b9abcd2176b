import ArgumentParser
import Basics
import Load
import Testing

@testable import quorate

@Suite("The bench command")
struct BenchTests {
    private func plan<Command>(
        _ arguments: [String], of type: Command.Type, _ workload: LoadPlan.Workload,
        _ options: (Command) -> (BenchOptions, ClientOptions)
    ) throws -> LoadPlan {
        let command = try #require(try Quorate.parseAsRoot(["bench"] + arguments) as? Command)
        let (load, client) = options(command)
        return try load.plan(workload, client)
    }

    @Test("Without flags there is a sensible run of ten seconds")
    func defaults() throws {
        let plan = try plan(["write"], of: BenchWrite.self, .write) { ($0.load, $0.options) }
        #expect(plan.endpoints.map(\.description) == ClientOptions.localEndpoints)
        #expect(plan.connectionCount == 100 && plan.inFlight == 10 && plan.keyCount == 10_000 && plan.valueSize == 256)
        #expect(plan.warmUp == .seconds(1) && plan.duration == .seconds(10) && plan.rate == nil)
        #expect(plan.prefix == Array("bench/".utf8) && !plan.usesAllNodes && !plan.readsStale)
        #expect(plan.serverProcesses == nil && plan.tls == nil && plan.timeout == .seconds(5))
    }

    @Test("Every flag reaches the plan")
    func flags() throws {
        let arguments = [
            "mixed", "--read-share", "40", "--connections", "3", "--in-flight", "4", "--seconds", "0.5",
            "--warm-up", "0.25", "--rate", "70", "--value-size", "9", "--keys", "11", "--prefix", "mine/",
            "--read-level", "stale", "--target", "all", "--seed", "12", "--pids", "5,6",
            "--endpoints", "127.0.0.1:9", "--timeout", "2s",
        ]
        let plan = try plan(arguments, of: BenchMixed.self, .mixed(readPercent: 40)) {
            #expect($0.readShare == 40)
            return ($0.load, $0.options)
        }
        #expect(plan.connectionCount == 3 && plan.inFlight == 4 && plan.rate == 70 && plan.valueSize == 9)
        #expect(plan.duration == .milliseconds(500) && plan.warmUp == .milliseconds(250) && plan.timeout == .seconds(2))
        #expect(plan.keyCount == 11 && plan.prefix == Array("mine/".utf8) && plan.seed == 12)
        #expect(plan.readsStale && plan.usesAllNodes && plan.serverProcesses == [5, 6])
        #expect(plan.endpoints == [HostPort(host: "127.0.0.1", port: 9)])
    }

    @Test("A watch has one connection that writes; an import and windows end by themselves")
    func otherDefaults() throws {
        let watch = try plan(["watch"], of: BenchWatch.self, .watch(watchers: 10)) { ($0.load, $0.options) }
        #expect(watch.connectionCount == 1)
        let several = try plan(["watch", "--connections", "7"], of: BenchWatch.self, .watch(watchers: 10)) {
            ($0.load, $0.options)
        }
        #expect(several.connectionCount == 7)
        let whole = try plan(["import"], of: BenchImport.self, .importing) { ($0.load, $0.options) }
        #expect(whole.duration == nil)
        let part = try plan(["import", "--seconds", "3"], of: BenchImport.self, .importing) { ($0.load, $0.options) }
        #expect(part.duration == .seconds(3))
        let windows = try plan(["read", "--windows"], of: BenchRead.self, .read) { ($0.load, $0.options) }
        #expect(windows.duration == nil)
    }

    @Test(
        "What cannot be run is refused with the flag's name, and exit code 2",
        arguments: [
            ("write --connections 0", "--connections"), ("write --in-flight 0", "--in-flight"),
            ("write --in-flight 1025", "--in-flight"), ("write --seconds 0", "--seconds"),
            ("write --seconds nan", "--seconds"), ("write --warm-up -1", "--warm-up"), ("write --rate 0", "--rate"),
            ("write --value-size 67108865", "--value-size"), ("write --keys 0", "--keys"),
            ("read --prefix=", "--prefix"), ("write --pids 1,x", "--pids"), ("write --target follower", "--target"),
            ("mixed --read-share 101", "--read-share"),
            ("watch --watchers 0", "--watchers"), ("watch --value-size 15", "--value-size"), ("txn --keys 1", "--keys"),
            ("session --sessions 0", "--sessions"), ("session --ttl 10ms", "--ttl"),
            ("session --per-keep-alive 5000", "--per-keep-alive"), ("write --timeout 0s", "--timeout"),
            ("registry --agents 0", "--agents"), ("registry --frameworks 0", "--frameworks"),
            ("registry --agents 5 --volumes 4", "--volumes"), ("registry --agents 1 --volumes 257", "--volumes"),
            ("registry --roles 0", "--roles"), ("registry --agents 5 --volumes 5 --returning 6", "--returning"),
            ("registry --heart-beats 0", "--heart-beats"), ("registry --seconds 0", "--seconds"),
            ("registry --connections 501", "--connections"), ("registry --in-flight 0", "--in-flight"),
            ("registry --value-size 67108865", "--value-size"), ("registry --ttl 10ms", "--ttl"),
            ("registry --stand-by --stay", "--stand-by"),
        ])
    func refusals(line: String, flag: String) {
        do {
            _ = try Quorate.parseAsRoot(["bench"] + line.split(separator: " ").map(String.init))
            Issue.record("\(line) was accepted")
        } catch {
            #expect(Quorate.exitCode(for: error) == .validationFailure)
            #expect(Quorate.fullMessage(for: error).contains(flag))
        }
    }

    @Test("The registry is as large as it is to be at most; every flag reaches the plan")
    func registry() throws {
        func plan(_ arguments: String...) throws -> RegistryPlan {
            try #require(try Quorate.parseAsRoot(["bench", "registry"] + arguments) as? BenchRegistry).plan()
        }
        let whole = try plan()
        #expect(
            whole.shape == RegistryShape(agents: 50_000, frameworks: 1_000, volumes: 1_000_000, roles: 10_000))
        #expect(whole.returningAgents == 10_000 && whole.heartBeatingAgents == 10_000)
        #expect(whole.duration == .seconds(5) && whole.masterTimeout == .seconds(2))
        #expect(!whole.standsBy && !whole.stays)
        let small = try plan(
            "--agents", "20", "--frameworks", "2", "--volumes", "60", "--heart-beats", "30", "--seconds", "0.5",
            "--connections", "3", "--in-flight", "4", "--value-size", "9", "--ttl", "3s", "--stay", "--timeout", "7s",
            "--endpoints", "127.0.0.1:9")
        #expect(small.shape == RegistryShape(agents: 20, frameworks: 2, volumes: 60, roles: 20))
        #expect(small.returningAgents == 20 && small.heartBeatingAgents == 30)
        #expect(small.duration == .milliseconds(500) && small.masterTimeout == .seconds(3) && small.stays)
        #expect(small.load.connectionCount == 3 && small.load.inFlight == 4 && small.load.valueSize == 9)
        #expect(small.load.timeout == .seconds(7) && small.load.endpoints == [HostPort(host: "127.0.0.1", port: 9)])
        let waiting = try plan("--agents", "20", "--volumes", "60", "--roles", "7", "--returning", "3", "--stand-by")
        #expect(waiting.standsBy && waiting.returningAgents == 3 && waiting.shape.roles == 7)
    }

    @Test("The JSON of the registry has these keys in this order, and null for what was not measured")
    func registryJSON() throws {
        let plan = RegistryPlan(
            shape: RegistryShape(agents: 4, frameworks: 3, volumes: 8, roles: 2), load: LoadPlan(.write, endpoints: []),
            returningAgents: 4, heartBeatingAgents: 5)
        var report = RegistryReport()
        let head = #"{"agents":4,"frameworks":3,"volumes":8,"roles":2,"filling":"#
        #expect(
            report.json(plan).text
                == head + #"[],"alone":[],"together":[],"reading":null,"takeOver":null,"heartBeats":null}"#)
        let puts = LoadReport(
            whole: part("write", seconds: 2, micros: [0, 0]), errors: ["timeout": 1],
            parts: [part("calm", seconds: 1, micros: [0])], bodySizeMean: 100)
        report.filling = [puts]
        report.reading = RegistryReport.Reading(recordCount: 300, size: 9_000, seconds: [1, 2], writes: puts)
        report.takeOver = RegistryReport.TakeOver(
            agents: 4, leadsAfter: 1.254, recoveredAfter: 1.5, attachedAfter: 2, attaching: puts)
        report.heartBeats = RegistryReport.HeartBeats(agents: 5, seconds: 4, logEntries: 2, keepAlives: puts)
        let zeros = #"{"p50":0,"p90":0,"p99":0,"p999":0,"max":0}"#
        #expect(
            report.json(plan).text
                == head + #"[{"name":"write","operations":2,"seconds":2.0,"operationsPerSecond":1,"#
                + #""errors":{"timeout":1},"latencyMicros":\#(zeros),"logBytesPerOperation":148.0,"#
                + #""serverCPUMicrosPerOperation":null}],"alone":[],"together":[],"#
                + #""reading":{"records":300,"bytes":9000,"seconds":[1.0,2.0],"recordsPerSecond":200,"#
                + #""puts":[{"name":"calm","operations":1,"seconds":1.0,"operationsPerSecond":1,"#
                + #""latencyMicros":\#(zeros)}],"errors":{"timeout":1}},"#
                + #""takeOver":{"agents":4,"leadsAfterSeconds":1.25,"recoveredAfterSeconds":1.5,"#
                + #""attachedAfterSeconds":2.0,"errors":{"timeout":1}},"#
                + #""heartBeats":{"agents":5,"seconds":4.0,"logEntries":2,"logEntriesPerSecond":0.5,"#
                + #""latencyMicros":\#(zeros),"errors":{"timeout":1}}}"#)
        let text = report.text(plan)
        #expect(text.hasPrefix("4 agents, 3 frameworks, 8 volumes of 2 roles\n"))
        #expect(text.contains("148 B") && text.contains("300 records") && text.contains("200 per second"))
        #expect(text.contains("4 agents attached after 2.0 s") && text.contains("0.5 log entries a second"))
        #expect(!text.contains("one at a time"))
    }

    private func part(_ name: String, seconds: Double, micros: [Int64]) -> LoadReport.Part {
        var latencies = Latencies()
        for micros in micros { latencies.record(nanoseconds: micros * 1_000) }
        return LoadReport.Part(name: name, seconds: seconds, latencies: latencies)
    }

    @Test("The JSON has these keys in this order, whatever was run")
    func json() {
        let whole = part("write", seconds: 2, micros: [0, 0, 0])
        #expect(
            LoadReport(whole: whole).json.text
                == #"{"operations":3,"seconds":2.0,"operationsPerSecond":2,"errors":{},"#
                + #""latencyMicros":{"p50":0,"p90":0,"p99":0,"p999":0,"max":0},"#
                + #""serverCPUMicrosPerOperation":null,"residentBytes":null}"#)
        let full = LoadReport(
            whole: whole, errors: ["timeout": 2, "notSent": 1], parts: [part("opening", seconds: 0.254, micros: [0])],
            serverCPUMicros: 37, residentBytes: [1, 2])
        #expect(
            full.json.text
                == #"{"operations":3,"seconds":2.0,"operationsPerSecond":2,"errors":{"notSent":1,"timeout":2},"#
                + #""latencyMicros":{"p50":0,"p90":0,"p99":0,"p999":0,"max":0},"#
                + #""serverCPUMicrosPerOperation":12.33,"residentBytes":[1,2],"#
                + #""windows":[{"name":"opening","operations":1,"seconds":0.25,"operationsPerSecond":4,"#
                + #""latencyMicros":{"p50":0,"p90":0,"p99":0,"p999":0,"max":0}}]}"#)
    }

    @Test("People get units, and what is not known is left out")
    func text() {
        let plan = LoadPlan(.write, endpoints: [])
        let whole = part("write", seconds: 1, micros: [0])
        let bare = LoadReport(whole: whole).text(plan)
        #expect(bare.hasPrefix("100 connections × 10, as many requests as can be, values of 256 bytes\n"))
        #expect(bare.contains("errors       none") && !bare.contains("CPU") && !bare.contains("memory"))
        let full = LoadReport(
            whole: whole, errors: ["timeout": 2], serverCPUMicros: 17.5, residentBytes: [1 << 20, 3 << 20]
        ).text(plan)
        #expect(full.contains("timeout 2"))
        #expect(full.contains("17.5 µs an operation"))
        #expect(full.contains("1.0 MiB, 3.0 MiB"))
        #expect(Latencies.text(micros: 9_999) == "9999 µs")
        #expect(Latencies.text(micros: 12_345) == "12.35 ms")
        #expect(Latencies.text(micros: 12_000_000) == "12.0 s")
    }
}
