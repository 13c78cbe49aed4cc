import { describe, expect, test } from "vitest";
import { parseCluster, type Status, StatusError } from "../../contract/status";
import { exampleStatus } from "../example-status";

const member = (more: object) => ({
  name: "balancer-1",
  instance: "i-new",
  address: "172.31.0.9",
  status: exampleStatus,
  reason: "",
  haproxyAnswers: false,
  ...more,
});

const parse = (...balancers: object[]) =>
  parseCluster(JSON.stringify({ instance: "i-new", complete: true, balancers }));

const taken = (state: string, takenOut?: string | null) => ({ server: "wcs-1-00000001", state, takenOut });

describe("the statuses of all balancers", () => {
  test("are read with the reason of each that gives none", () => {
    const silent = member({ name: null, instance: "i-old", status: null, reason: "it does not answer" });
    expect(parse(member({}), silent)).toEqual({
      instance: "i-new",
      complete: true,
      balancers: [
        { ...member({}), leaving: [], named: true, nodes: [taken("up", null)] },
        { ...silent, leaving: null, named: null, nodes: [] },
      ],
    });
  });

  test("may have one of another version, of which only the ways that it leaves are read", () => {
    const { handedOver: _, named: __, ...rest } = exampleStatus;
    const leaving: Status["leaving"] = [
      { path: "loadBalancer", phase: "tail", reason: "", sockets: 3, secondsLeft: 200 },
    ];
    const older = member({ name: null, status: { ...rest, leaving, newField: 1 } });
    const [found] = parse(older).balancers;
    expect(found).toMatchObject({ status: null, leaving, named: null });
    expect(found?.reason).toContain("handedOver is missing");
    const newer = member({ status: { ...rest, named: false, newField: 1 } });
    expect(parse(newer).balancers[0]).toMatchObject({ status: null, leaving: [], named: false });
    // A form that this version does not know says nothing.
    const strange = member({ status: { ...rest, named: "no", leaving: [{ path: "tunnel" }] } });
    expect(parse(strange).balancers[0]).toMatchObject({ leaving: null, named: null });
    const first = member({ status: { revision: "r1" } });
    expect(parse(first).balancers[0]).toMatchObject({ status: null, leaving: null });
  });

  test.each([
    ["an earlier version", taken("maint"), [taken("maint")]],
    ["a version with more", { ...taken("up", "drain"), more: 1 }, [taken("up", "drain")]],
    ["a version with other words", taken("up", "parked"), [taken("up")]],
    ["a version with another form", 7, []],
  ])("of %s say which nodes are taken out, as far as they are understood", (_, node, nodes) => {
    const other = member({ status: { ...exampleStatus, nodes: [node], newField: 1 } });
    const [found] = parse(other).balancers;
    expect(found?.status).toBeNull();
    expect(found?.nodes).toEqual(nodes);
  });

  test("are understood without the fields that balancers of an earlier version do not send", () => {
    const { named: _, nodes, ...rest } = exampleStatus;
    const status = { ...rest, nodes: nodes.map(({ takenOut: _, ...node }) => node) };
    expect(parse(member({ status })).balancers[0]).toMatchObject({ status, named: null });
  });

  test("say of each whether only its HAProxy answers", () => {
    const silent = { status: null, reason: "HTTP 503" };
    const answers = (more: object) => parse(member(more)).balancers[0]?.haproxyAnswers;
    expect(answers({ ...silent, haproxyAnswers: true })).toBe(true);
    expect(answers(silent)).toBe(false);
    // A balancer of an earlier version does not say it, so the other one may have clients.
    expect(answers({ ...silent, haproxyAnswers: undefined })).toBe(true);
    expect(answers({ haproxyAnswers: undefined })).toBe(false);
  });

  test("of a machine that does not know its instance yet have no id", () => {
    const unknown = member({ name: null, instance: null, address: null });
    expect(parse(unknown).balancers[0]).toMatchObject({ name: null, instance: null });
  });

  test.each(["", "[]", "{}", '{"instance":"i-1","balancers":[7]}'])("are not %j", (answer) => {
    expect(() => parseCluster(answer)).toThrow(StatusError);
  });
});
