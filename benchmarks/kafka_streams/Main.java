import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import org.apache.avro.Schema;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The worker's job without Salesforce, in Kafka Streams: reads so many events (0: until standard
 * input ends), leaves, and prints one JSON object. Options are `--name value`; see `main`.
 */
public final class Main {
    private static final OperatingSystemMXBean PROCESS =
        (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    private final Map<String, String> options;
    private final CollapseProcessor.Counts counts = new CollapseProcessor.Counts();

    private Main(Map<String, String> options) {
        this.options = options;
    }

    public static void main(String[] arguments) throws IOException, InterruptedException {
        Map<String, String> options = new HashMap<>();
        for (int i = 0; i < arguments.length; i += 2) {
            options.put(arguments[i].substring(2), arguments[i + 1]);
        }
        new Main(options).run();
    }

    private void run() throws IOException, InterruptedException {
        long events = Long.parseLong(options.get("events"));
        KafkaStreams streams = new KafkaStreams(topology(), properties());
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1); // half a result is none
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        awaitMore(Long.parseLong(options.get("warm-up")));
        long before = counts.events.sum();
        long beganNs = System.nanoTime();
        long beganCpuNs = PROCESS.getProcessCpuTime();
        if (events == 0) {
            System.in.read();
        } else {
            awaitMore(events - 1);
        }
        streams.close(); // commits what was read
        double seconds = (System.nanoTime() - beganNs) / 1e9;
        double cpuUs = (PROCESS.getProcessCpuTime() - beganCpuNs) / 1e3;
        long read = counts.events.sum() - before;
        System.out.printf(
            Locale.ROOT,
            "{\"events_per_s\": %.0f, \"seconds\": %.2f, \"cpu_us_per_event\": %.2f,"
                + " \"events\": %d, \"statuses\": %d, \"dead_letters\": %d, \"ignored\": %d}%n",
            read / seconds, seconds, cpuUs / read, counts.events.sum(), counts.statuses.sum(),
            counts.deadLetters.sum(), counts.ignored.sum());
    }

    private void awaitMore(long events) throws InterruptedException {
        while (counts.events.sum() <= events) {
            Thread.sleep(10); // nothing tells of a counter, and looking costs CPU
        }
    }

    private Topology topology() throws IOException {
        Schema events = schema("delivery_event.avsc");
        Schema statuses = schema("delivery_status.avsc");
        StoreBuilder<KeyValueStore<String, byte[]>> store = Stores.keyValueStoreBuilder(
            Stores.persistentKeyValueStore(CollapseProcessor.STORE),
            Serdes.String(),
            Serdes.ByteArray());
        if (options.get("caching").equals("on")) {
            store = store.withCachingEnabled();
        }
        return new Topology()
            .addSource(
                "events", new StringDeserializer(), new ByteArrayDeserializer(),
                options.get("events-topic"))
            .addProcessor(
                "collapse", () -> new CollapseProcessor(events, statuses, counts), "events")
            .addStateStore(store, "collapse")
            .addSink(
                CollapseProcessor.STATUS_SINK, options.get("status-topic"),
                new StringSerializer(), new ByteArraySerializer(), "collapse")
            .addSink(
                CollapseProcessor.DEAD_LETTER_SINK, options.get("dead-letter-topic"),
                new StringSerializer(), new ByteArraySerializer(), "collapse");
    }

    private Schema schema(String file) throws IOException {
        return new Schema.Parser().parse(Files.readString(Path.of(options.get("schemas"), file)));
    }

    private Properties properties() {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, options.get("application-id"));
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.get("servers"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, options.get("state"));
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, options.get("threads"));
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, options.get("commit-ms"));
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 256L << 20);
        // Larger steps than the defaults of each; a tenth to a fifth faster.
        properties.put("auto.offset.reset", "earliest");
        properties.put("max.poll.records", 5_000);
        properties.put("fetch.max.bytes", 50 << 20);
        properties.put("max.partition.fetch.bytes", 4 << 20);
        properties.put("batch.size", 400_000);
        properties.put("linger.ms", 5);
        properties.put("compression.type", "lz4");
        return properties;
    }
}
