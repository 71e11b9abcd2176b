import Basics
import Testing
import Wire

@testable import Load

@Suite("A plan and the cluster")
struct LoadPlanTests {
    private func plan(_ workload: LoadPlan.Workload) -> LoadPlan { LoadPlan(workload, endpoints: []) }

    @Test("What the cluster does not take is named, with what it does")
    func refusals() {
        let limits = ConnectionLimits(
            valueSizeMax: 1_000, requestsMax: 8, sessionTimeoutMin: 1_000, sessionTimeoutMax: 60_000)
        var plan = plan(.write)
        plan.inFlight = 8
        plan.valueSize = 1_000
        #expect(plan.refusal(by: limits) == nil)
        plan.inFlight = 9
        #expect(plan.refusal(by: limits)?.contains("--in-flight 9: the cluster takes at most 8") == true)
        plan.inFlight = 1
        plan.valueSize = 1_001
        #expect(plan.refusal(by: limits)?.contains("--value-size 1001: the cluster takes at most 1000") == true)
        plan.workload = .transaction
        plan.valueSize = 501
        #expect(plan.refusal(by: limits)?.contains("at most 500") == true)
        plan.valueSize = 500
        #expect(plan.refusal(by: limits) == nil)
        plan.workload = .session(.init(count: 1, timeout: .seconds(61), perKeepAlive: 1))
        #expect(plan.refusal(by: limits)?.contains("--ttl") == true)
        plan.workload = .session(.init(count: 1, timeout: .seconds(60), perKeepAlive: 1))
        #expect(plan.refusal(by: limits) == nil)
    }

    @Test("Where a connection has its turn only now and then, its session outlives the time between")
    func sessionTimeout() {
        var plan = plan(.write)
        #expect(plan.ownSessionTimeout == Limits.sessionTimeoutDefault)
        plan.connectionCount = 100
        plan.rate = 10_000
        #expect(plan.ownSessionTimeout == Limits.sessionTimeoutDefault)
        plan.rate = 2
        #expect(plan.ownSessionTimeout > .seconds(100))
        plan.connectionCount = 10_000
        plan.rate = 1
        #expect(plan.ownSessionTimeout <= Limits.sessionTimeoutMax)
    }

    @Test("Everything that is written begins with the prefix")
    func prefix() {
        for workload: LoadPlan.Workload in [.write, .watch(watchers: 1), .importing] {
            var plan = plan(workload)
            plan.prefix = Array("mine/".utf8)
            var keys = plan.recordKeys
            var sessionKeys = plan.sessionKeys
            #expect(keys[3].starts(with: plan.prefix) && sessionKeys[3].starts(with: plan.prefix))
            #expect(plan.watchedPrefix.starts(with: plan.prefix))
            if case .watch = workload { #expect(keys[3].starts(with: plan.watchedPrefix)) }
        }
    }

    @Test("Sockets that listen are found in the kernel's table, and no others")
    func listeningSockets() {
        let table = """
              sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
               0: 0100007F:1CE8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 91017 1 0 100 0
               1: 0100007F:1CE8 0100007F:A1B2 01 00000000:00000000 00:00000000 00000000  1000        0 91018 1 0 20 4
               2: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0:0 00:0 0  0  0 17 1
            nonsense
            """
        let found = LocalNodes.sockets(listeningIn: table)
        #expect(found.map(\.port) == [7_400, 22])
        #expect(found.map(\.inode) == ["91017", "17"])
    }

    @Test("Only loopback addresses are looked for on this machine")
    func localNodes() {
        #expect(LocalNodes.processes(listeningAt: [HostPort(host: "192.0.2.1", port: 22)]).isEmpty)
        #expect(LocalNodes.processes(listeningAt: []).isEmpty)
        #expect(ProcessFigures(of: 0x7FFF_FFFF) == nil)
    }
}
