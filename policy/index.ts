/** Run with: pulumi preview --policy-pack policy */
import { PolicyPack } from "@pulumi/policy";
import { policies } from "./policies";

new PolicyPack("wcs-balancer", { enforcementLevel: "mandatory", policies });
