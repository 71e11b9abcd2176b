import Basics
import Telemetry
import Testing

@Suite("The text that Prometheus reads")
struct PrometheusTextTests {
    @Test("every family has its help and its type, also without a sample")
    func helpAndType() {
        let text = PrometheusText.render([
            MetricFamily("a_bytes", .gauge, "Some bytes.", .whole(7)),
            MetricFamily("b_total", .counter, "Never yet.", nil),
        ])
        #expect(
            text == """
                # HELP a_bytes Some bytes.
                # TYPE a_bytes gauge
                a_bytes 7
                # HELP b_total Never yet.
                # TYPE b_total counter

                """)
    }

    @Test("quotes, backslashes and line breaks are escaped where the format asks for it")
    func escapes() {
        let sample = MetricFamily.Sample(.whole(1), labels: [("name", "a\"b\\c\nd\r\ne")])
        let text = PrometheusText.render([MetricFamily("x_info", .gauge, "a \"b\" \\ c\nd", [sample])])
        #expect(
            text == "# HELP x_info a \"b\" \\\\ c\\nd\n# TYPE x_info gauge\n"
                + "x_info{name=\"a\\\"b\\\\c\\nd\r\\ne\"} 1\n")
    }

    @Test(
        "numbers are as short as they can be, and whole ones exact",
        arguments: [
            (MetricFamily.Value.whole(.max), "18446744073709551615"), (.number(0), "0"), (.number(2.5), "2.5"),
            (.number(-3), "-3"), (.number(0.00001), "1e-05"), (.number(.infinity), "+Inf"), (.number(.nan), "NaN"),
            (.number(1e300), "1e+300"),
        ])
    func numbers(value: MetricFamily.Value, text: String) {
        let lines = PrometheusText.render([MetricFamily("x_seconds", .gauge, "X.", value)]).split(separator: "\n")
        #expect(lines.last == "x_seconds \(text)")
    }

    @Test("a histogram's buckets add up, end in +Inf, and sum and count agree with what was recorded")
    func histogram() {
        var latencies = LatencyHistogram()
        latencies.record(.microseconds(100))
        latencies.record(.microseconds(101), count: 3)
        latencies.record(.seconds(1))
        latencies.record(.seconds(60))
        latencies.record(.nanoseconds(-5))
        let sample = MetricFamily.Sample(.latencies(latencies), labels: [("disk", "a")])
        let lines = PrometheusText.render([MetricFamily("x_seconds", .histogram, "X.", [sample])])
            .split(separator: "\n").map(String.init)
        #expect(lines[2] == "x_seconds_bucket{disk=\"a\",le=\"0.0001\"} 2")
        #expect(lines[3] == "x_seconds_bucket{disk=\"a\",le=\"0.00025\"} 5")
        #expect(lines.contains("x_seconds_bucket{disk=\"a\",le=\"0.5\"} 5"))
        #expect(lines.contains("x_seconds_bucket{disk=\"a\",le=\"1\"} 6"))
        #expect(lines.contains("x_seconds_bucket{disk=\"a\",le=\"10\"} 6"))
        #expect(lines.suffix(3).first == "x_seconds_bucket{disk=\"a\",le=\"+Inf\"} 7")
        #expect(lines.suffix(2).first == "x_seconds_sum{disk=\"a\"} 61.000403")
        #expect(lines.last == "x_seconds_count{disk=\"a\"} 7")
        #expect(latencies.count == 7)
    }

    @Test("the kernel's figures of this process are there and plausible")
    func process() throws {
        let families = ProcessFigures.families()
        for family in families { #expect(family.samples.count == 1, "\(family.name) is missing") }
        let text = PrometheusText.render(families)
        func value(_ name: String) throws -> Double {
            let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("\(name) ") })
            return try #require(Double(line.dropFirst(name.count + 1)))
        }
        #expect(try value("process_resident_memory_bytes") > 1_000_000)
        let (open, most) = (try value("process_open_fds"), try value("process_max_fds"))
        #expect(open >= 3)
        #expect(open < most)
        #expect(try value("process_cpu_seconds_total") > 0)
        #expect(try value("process_start_time_seconds") > 1_700_000_000)
    }

    @Test("a report tells each check in a line, and one that failed makes it a 503")
    func health() {
        var report = HealthReport()
        report.check(true, ok: "leader known", failed: "no leader")
        #expect(report.answer.status == .ok)
        report.check(false, ok: "enough", failed: "disk has 12 MiB free, below its reserve of 64 MiB")
        #expect(report.answer.status == .serviceUnavailable)
        #expect(
            report.answer.body == "ok leader known\nfailed disk has 12 MiB free, below its reserve of 64 MiB\n")
    }
}
