import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Timer;
import java.util.TimerTask;
import java.util.concurrent.TimeUnit;
import org.eclipse.californium.core.CoapClient;
import org.eclipse.californium.core.CoapHandler;
import org.eclipse.californium.core.CoapObserveRelation;
import org.eclipse.californium.core.CoapResource;
import org.eclipse.californium.core.CoapResponse;
import org.eclipse.californium.core.CoapServer;
import org.eclipse.californium.core.coap.BlockOption;
import org.eclipse.californium.core.coap.CoAP;
import org.eclipse.californium.core.coap.CoAP.ResponseCode;
import org.eclipse.californium.core.coap.Request;
import org.eclipse.californium.core.coap.Response;
import org.eclipse.californium.core.coap.Token;
import org.eclipse.californium.core.config.CoapConfig;
import org.eclipse.californium.core.network.CoapEndpoint;
import org.eclipse.californium.core.server.resources.CoapExchange;
import org.eclipse.californium.elements.config.Configuration;
import org.eclipse.californium.elements.util.StringUtil;
import org.eclipse.californium.scandium.DTLSConnector;
import org.eclipse.californium.scandium.config.DtlsConfig;
import org.eclipse.californium.scandium.config.DtlsConnectorConfig;
import org.eclipse.californium.scandium.dtls.pskstore.AdvancedSinglePskStore;

/**
 * The client and the server of ETSI's plugtests on Californium:
 *
 * <pre>
 * CaliforniumPlugtest client|server PORT IDENTITY KEY
 * </pre>
 *
 * The client takes the lines that aiocoap_plugtest.py takes, and "ping".
 */
public final class CaliforniumPlugtest {
	private static String base;
	private static CoapClient client;
	private static CoapObserveRelation relation;

	public static void main(String[] args) throws Exception {
		CoapConfig.register();
		DtlsConfig.register();
		boolean server = args[0].equals("server");
		int port = Integer.parseInt(args[1]);
		Configuration config = Configuration.createStandardWithoutFile()
				.set(CoapConfig.PREFERRED_BLOCK_SIZE, 512).set(CoapConfig.MAX_MESSAGE_SIZE, 1024)
				.set(CoapConfig.NOTIFICATION_REREGISTRATION_BACKOFF, 500, TimeUnit.MILLISECONDS)
				.set(DtlsConfig.DTLS_ROLE, server ? DtlsConfig.DtlsRole.SERVER_ONLY : DtlsConfig.DtlsRole.CLIENT_ONLY)
				.set(DtlsConfig.DTLS_RECEIVER_THREAD_COUNT, 1).set(DtlsConfig.DTLS_CONNECTOR_THREAD_COUNT, 1);
		InetSocketAddress at = new InetSocketAddress(InetAddress.getLoopbackAddress(), server ? port : 0);
		DTLSConnector connector = new DTLSConnector(DtlsConnectorConfig.builder(config).setAddress(at)
				.setAdvancedPskStore(new AdvancedSinglePskStore(args[2], args[3].getBytes(StandardCharsets.UTF_8))).build());
		CoapEndpoint endpoint = CoapEndpoint.builder().setConfiguration(config).setConnector(connector).build();
		if (server) {
			serve(config, endpoint);
			return;
		}
		base = "coaps://127.0.0.1:" + port;
		client = new CoapClient(base);
		client.setEndpoint(endpoint);
		client.setTimeout(20000L);
		BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
		for (String line; (line = lines.readLine()) != null;) {
			obey(line.split(" "));
		}
		System.exit(0);
	}

	private static void obey(String[] words) throws Exception {
		switch (words[0]) {
		case "ask":
			say("answer", client.advanced(request(words)));
			break;
		case "observe":
			Request request = request(words);
			request.setObserve();
			boolean[] first = {true};
			relation = client.observe(request, new CoapHandler() {
				@Override
				public void onLoad(CoapResponse response) {
					say(first[0] ? "answer" : "notification", response);
					first[0] = false;
				}

				@Override
				public void onError() {
					print("over");
				}
			});
			break;
		case "forget":
			relation.reactiveCancel();
			print("forgotten");
			break;
		case "cancel":
			relation.proactiveCancel();
			print("cancelled");
			break;
		case "ping":
			print(client.ping(5000) ? "pong" : "no answer");
			break;
		default:
			print("what is " + words[0]);
		}
	}

	private static Request request(String[] words) {
		Request request = new Request(CoAP.Code.valueOf(words[2]), words[1].equals("NON") ? CoAP.Type.NON : CoAP.Type.CON);
		request.setURI(base + words[3]);
		for (int i = 4; i < words.length; i++) {
			String[] pair = words[i].split("=", 2);
			switch (pair[0]) {
			case "accept" -> request.getOptions().setAccept(Integer.parseInt(pair[1]));
			case "format" -> request.getOptions().setContentFormat(Integer.parseInt(pair[1]));
			case "payload" -> request.setPayload(StringUtil.hex2ByteArray(pair[1]));
			case "etag" -> request.getOptions().addETag(StringUtil.hex2ByteArray(pair[1]));
			case "ifmatch" -> request.getOptions().addIfMatch(StringUtil.hex2ByteArray(pair[1]));
			case "ifnonematch" -> request.getOptions().setIfNoneMatch(true);
			case "block" -> request.getOptions().setBlock2(BlockOption.size2Szx(Integer.parseInt(pair[1])), false, 0);
			case "token" -> request.setToken(pair[1].isEmpty() ? Token.EMPTY : new Token(StringUtil.hex2ByteArray(pair[1])));
			default -> throw new IllegalArgumentException(words[i]);
			}
		}
		return request;
	}

	private static void say(String word, CoapResponse response) {
		print(response == null ? "no answer" : word + " " + response.getCode().text + " " + StringUtil.byteArray2Hex(response.getPayload()));
	}

	private static synchronized void print(String line) {
		System.out.println(line);
		System.out.flush();
	}

	private static void serve(Configuration config, CoapEndpoint endpoint) throws Exception {
		CoapServer server = new CoapServer(config);
		server.addEndpoint(endpoint);
		CoapResource path = new Text("path", "</path/sub1>;ct=0");
		path.getAttributes().addContentType(40);
		path.add(new Text("sub1", "/path/sub1"));
		server.add(new Test(), new Text("seg1", "seg1").add(new Text("seg2", "seg2").add(new Text("seg3", "three segments"))), new Query(),
				new Separate(), new LocationQuery(), new MultiFormat(), new Stored("validate", "version 1", true),
				new Stored("create1", null, false), new Text("large", large(1700, "large")), new Stored("large-update", "small", false),
				new Stored("large-create", "small", false), new Echo(), new Obs("obs", CoAP.Type.CON, 0), new Obs("obs-non", CoAP.Type.NON, 0),
				new Obs("obs-large", CoAP.Type.CON, 1500), link("link1", "Type1 Type2", "If1"), link("link2", "Type2 Type3", "If2"),
				link("link3", "Type1 Type3", "foo"), path);
		server.start();
		Thread.currentThread().join();
	}

	private static CoapResource link(String name, String types, String interfaces) {
		CoapResource link = new Text(name, name);
		for (String type : types.split(" ")) {
			link.getAttributes().addResourceType(type);
		}
		link.getAttributes().addInterfaceDescription(interfaces);
		return link;
	}

	private static String large(int size, String seed) {
		StringBuilder text = new StringBuilder();
		for (int i = 0; text.length() < size; i++) {
			text.append(String.format("%s %04d\n", seed, i));
		}
		return text.substring(0, size);
	}

	private static class Text extends CoapResource {
		private final String text;

		Text(String name, String text) {
			super(name);
			this.text = text;
			if (name.equals("large")) {
				getAttributes().setMaximumSizeEstimate(text.length());
			}
		}

		@Override
		public CoapResource add(CoapResource child) {
			super.add(child);
			return this;
		}

		@Override
		public void handleGET(CoapExchange exchange) {
			exchange.respond(ResponseCode.CONTENT, text, getName().equals("path") ? 40 : 0);
		}
	}

	private static final class Test extends Text {
		Test() {
			super("test", "a test");
		}

		@Override
		public void handlePUT(CoapExchange exchange) {
			exchange.respond(ResponseCode.CHANGED);
		}

		@Override
		public void handlePOST(CoapExchange exchange) {
			Response response = new Response(ResponseCode.CREATED);
			response.getOptions().setLocationPath("location1/location2/location3");
			exchange.respond(response);
		}

		@Override
		public void handleDELETE(CoapExchange exchange) {
			exchange.respond(ResponseCode.DELETED);
		}
	}

	private static final class Query extends CoapResource {
		Query() {
			super("query");
		}

		@Override
		public void handleGET(CoapExchange exchange) {
			exchange.respond(ResponseCode.CONTENT, "asked " + String.join(" ", exchange.getRequestOptions().getUriQuery()), 0);
		}
	}

	private static final class Separate extends CoapResource {
		Separate() {
			super("separate");
		}

		@Override
		public void handleGET(CoapExchange exchange) {
			exchange.accept();
			new Timer(true).schedule(new TimerTask() {
				@Override
				public void run() {
					exchange.respond(ResponseCode.CONTENT, "late", 0);
				}
			}, 400);
		}
	}

	private static final class LocationQuery extends CoapResource {
		LocationQuery() {
			super("location-query");
		}

		@Override
		public void handlePOST(CoapExchange exchange) {
			Response response = new Response(ResponseCode.CREATED);
			response.getOptions().addLocationQuery("first=1").addLocationQuery("second=2");
			exchange.respond(response);
		}
	}

	private static final class MultiFormat extends CoapResource {
		MultiFormat() {
			super("multi-format");
		}

		@Override
		public void handleGET(CoapExchange exchange) {
			if (exchange.getRequestOptions().isAccept(41)) {
				exchange.respond(ResponseCode.CONTENT, "<a/>", 41);
			} else {
				exchange.respond(ResponseCode.CONTENT, "plain", 0);
			}
		}
	}

	private static final class Echo extends CoapResource {
		Echo() {
			super("large-post");
		}

		@Override
		public void handlePOST(CoapExchange exchange) {
			exchange.respond(ResponseCode.CHANGED, exchange.getRequestText().toUpperCase(), 0);
		}
	}

	/** A resource that can be written, conditionally too. */
	private static class Stored extends CoapResource {
		protected String body;
		protected int format;
		private int version = 1;
		private final boolean tagged;

		Stored(String name, String body, boolean tagged) {
			super(name);
			this.body = body;
			this.tagged = tagged;
		}

		private byte[] tag() {
			return ("v" + version).getBytes(StandardCharsets.UTF_8);
		}

		@Override
		public synchronized void handleGET(CoapExchange exchange) {
			if (body == null) {
				exchange.respond(ResponseCode.NOT_FOUND);
				return;
			}
			boolean known = tagged && exchange.getRequestOptions().containsETag(tag());
			Response response = new Response(known ? ResponseCode.VALID : ResponseCode.CONTENT);
			if (!known) {
				response.setPayload(body);
				response.getOptions().setContentFormat(format);
			}
			if (tagged) {
				response.getOptions().addETag(tag());
			}
			exchange.respond(response);
		}

		@Override
		public synchronized void handlePUT(CoapExchange exchange) {
			List<byte[]> wanted = exchange.getRequestOptions().getIfMatch();
			if (exchange.getRequestOptions().hasIfNoneMatch() && body != null
					|| !wanted.isEmpty() && !exchange.getRequestOptions().isIfMatch(tag())) {
				exchange.respond(ResponseCode.PRECONDITION_FAILED);
				return;
			}
			exchange.respond(body == null ? ResponseCode.CREATED : ResponseCode.CHANGED);
			body = exchange.getRequestText();
			version++;
			changed();
		}

		@Override
		public synchronized void handlePOST(CoapExchange exchange) {
			body = exchange.getRequestText();
			Response response = new Response(ResponseCode.CREATED);
			response.getOptions().setLocationPath("large-create/1");
			exchange.respond(response);
		}
	}

	/** A resource that changes by itself, size bytes long. */
	private static final class Obs extends Stored {
		private final Timer timer = new Timer(true);

		Obs(String name, CoAP.Type type, int size) {
			super(name, size == 0 ? "state 0" : large(size, "state 0"), false);
			setObservable(true);
			setObserveType(type);
			getAttributes().setObservable();
			timer.scheduleAtFixedRate(new TimerTask() {
				private int n;

				@Override
				public void run() {
					n++;
					body = size == 0 ? "state " + n : large(size, "state " + n);
					changed();
				}
			}, 1000, 1000);
		}

		@Override
		public void handlePUT(CoapExchange exchange) {
			timer.cancel();
			int other = exchange.getRequestOptions().getContentFormat();
			if (other >= 0 && other != format) {
				exchange.respond(ResponseCode.CHANGED);
				format = other;
				clearAndNotifyObserveRelations(ResponseCode.NOT_ACCEPTABLE);
				return;
			}
			super.handlePUT(exchange);
		}

		@Override
		public void handleDELETE(CoapExchange exchange) {
			timer.cancel();
			exchange.respond(ResponseCode.DELETED);
			clearAndNotifyObserveRelations(ResponseCode.NOT_FOUND);
		}
	}
}
